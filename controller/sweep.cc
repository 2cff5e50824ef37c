#include "controller/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "controller/sandbox.h"

namespace mayfly::controller {
namespace {

std::string label(const OwnedObject& object, std::string_view key) {
    const auto found = object.labels.find(std::string(key));
    return found == object.labels.end() ? std::string() : found->second;
}

std::int64_t attempt_of(const OwnedObject& object) {
    const auto text = label(object, kLabelAttempt);
    std::int64_t number = -1;
    const auto end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    return error == std::errc{} && stop == end ? number : -1;
}

}  // namespace

SweepPlan plan_sweep(const std::vector<OwnedObject>& objects,
                     const std::map<std::string, KnownRun>& known, const SweepSettings& settings,
                     store::UnixMs now_ms) {
    SweepPlan plan;
    std::vector<SweepPlan::Item> unknown;
    std::int64_t owned = 0;
    for (const auto& object : objects) {
        if (label(object, kLabelInstance) != settings.instance_id) continue;
        ++owned;
        if (object.in_use) continue;
        const auto age_ms = now_ms - object.created_ms;
        const auto role = label(object, kLabelRole);
        if (role == "probe" || role == "build") {
            // On a volume the label says who first mounted it, which is the run's own container or
            // nobody.
            if (object.kind == OwnedObject::Kind::container && age_ms >= settings.aside_grace_ms) {
                plan.remove.push_back({object, fmt::format("{} left behind", role)});
            }
            if (object.kind == OwnedObject::Kind::container) continue;
        }
        const auto run = known.find(label(object, kLabelRun));
        if (run == known.end()) {
            ++(object.kind == OwnedObject::Kind::container ? plan.orphan_containers
                                                           : plan.orphan_volumes);
            if (age_ms >= settings.grace_ms)
                unknown.push_back({object, "no record knows its run"});
            continue;
        }
        const auto attempt = attempt_of(object);
        if (attempt == run->second.attempt && run->second.attempt_open) continue;
        // An attempt that is not ours to know yet cannot be: a record that is behind the engine.
        // Left alone.
        if (attempt > run->second.attempt || attempt < 1) continue;
        plan.remove.push_back({object, "its attempt is over"});
    }
    const auto count = static_cast<std::int64_t>(unknown.size());
    if (count > settings.brake_count && count * 100 > owned * settings.brake_percent) {
        plan.held = true;
        plan.held_message = fmt::format(
            "{} of {} objects on the engine belong to no known run: is this the right database? "
            "Nothing of them is "
            "removed",
            count, owned);
        for (auto& item : unknown) plan.held_back.push_back(std::move(item.object));
    } else {
        plan.remove.insert(plan.remove.end(), unknown.begin(), unknown.end());
    }
    std::ranges::sort(plan.remove, {}, [](const SweepPlan::Item& item) {
        return std::pair(item.object.kind, std::string_view(item.object.id));
    });
    return plan;
}

}  // namespace mayfly::controller
