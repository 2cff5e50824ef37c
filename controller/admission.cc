#include "controller/admission.h"

#include <algorithm>
#include <string_view>
#include <tuple>

namespace mayfly::controller {
namespace {

bool fits(std::int64_t used, std::int64_t wanted, std::int64_t budget) {
    return budget == 0 || wanted <= budget - used;
}

// Picks one at a time, because each pick changes its owner's share.
template <class Accept>
std::vector<std::string> pick(std::vector<Candidate> candidates,
                              std::map<std::string, std::int64_t> by_owner, std::int64_t count_max,
                              Accept accept) {
    // With a single owner a pick cannot change the order of the rest.
    const bool several_owners = std::ranges::any_of(
        candidates, [&](const Candidate& c) { return c.owner != candidates.front().owner; });
    std::vector<std::string> picked;
    sort_candidates(candidates, by_owner);
    std::size_t next = 0;
    while (next < candidates.size() && static_cast<std::int64_t>(picked.size()) < count_max) {
        const auto verdict = accept(candidates[next]);
        if (verdict == 0) break;
        if (verdict > 0) {
            picked.push_back(candidates[next].key);
            const auto owner = candidates[next].owner;
            ++by_owner[owner];
            ++next;
            // cannot have changed.
            if (several_owners) {
                std::vector<Candidate> rest(candidates.begin() + static_cast<std::ptrdiff_t>(next),
                                            candidates.end());
                sort_candidates(rest, by_owner);
                std::move(rest.begin(), rest.end(),
                          candidates.begin() + static_cast<std::ptrdiff_t>(next));
            }
        } else {
            ++next;
        }
    }
    return picked;
}

}  // namespace

void sort_candidates(std::vector<Candidate>& candidates,
                     const std::map<std::string, std::int64_t>& by_owner) {
    const auto share = [&](const Candidate& candidate) {
        const auto found = by_owner.find(candidate.owner);
        return found == by_owner.end() ? 0 : found->second;
    };
    std::ranges::sort(candidates, {}, [&](const Candidate& c) {
        return std::tuple<std::int64_t, std::int64_t, store::UnixMs, std::string_view>(
            -c.priority, share(c), c.created_ms, c.key);
    });
}

std::vector<std::string> admit_to_prepare(std::vector<Candidate> queued, const Usage& usage,
                                          const AdmissionLimits& limits) {
    const auto room = limits.max_running + limits.prepare_ahead - usage.running - usage.preparing;
    if (room <= 0) return {};
    return pick(std::move(queued), usage.by_owner, room, [](const Candidate&) { return 1; });
}

std::vector<std::string> admit_to_start(std::vector<Candidate> prepared, const Usage& usage,
                                        const AdmissionLimits& limits, store::UnixMs now_ms) {
    const auto room = limits.max_running - usage.running;
    if (room <= 0) return {};
    auto memory = usage.memory_bytes;
    auto cpu = usage.cpu_millis;
    return pick(std::move(prepared), usage.by_owner, room, [&](const Candidate& candidate) {
        if (fits(memory, candidate.memory_bytes, limits.memory_bytes) &&
            fits(cpu, candidate.cpu_millis, limits.cpu_millis)) {
            memory += candidate.memory_bytes;
            cpu += candidate.cpu_millis;
            return 1;
        }
        return now_ms - candidate.created_ms >= limits.starvation_ms ? 0 : -1;
    });
}

}  // namespace mayfly::controller
