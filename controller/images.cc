#include "controller/images.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>

#include "controller/detached.h"
#include "controller/file_source.h"
#include "controller/init/init_image.h"
#include "metrics/log.h"
#include "store/sha256.h"
#include "store/tar_writer.h"

namespace mayfly::controller {
namespace asio = boost::asio;
namespace {

using store::Reason;

// Changes when the layout of what we add to an image changes.
constexpr std::string_view kLayoutVersion = "1";
constexpr std::int64_t kProgressEveryMs = 1'000;
constexpr std::size_t kTagHexDigits = 32;

// The tar that is put at "/" of a build container, in an anonymous memory file.
std::expected<int, std::string> layer_tar() {
    const int fd = memfd_create("mayfly-layer", MFD_CLOEXEC);
    if (fd < 0) return std::unexpected("memfd_create failed");
    store::TarWriter tar(fd);
    const store::TarOwner root{0, 0};
    bool ok = tar.add_directory("work", 01777, root, 0).has_value();
    ok = ok && tar.add_directory(".mayfly", 0755, root, 0).has_value();
    ok = ok && tar.add_file(".mayfly/init", 0555, root, 0, init_image()).has_value();
    ok = ok && tar.finish().has_value();
    if (ok) return fd;
    close(fd);
    return std::unexpected("the layer's tar could not be written to memory");
}

}  // namespace

ImageCache::ImageCache(asio::any_io_executor executor, Engine& engine, Alarms& alarms,
                       const store::Clock& clock, store::Random& random, ImageSettings settings,
                       std::function<void(const std::string&)> on_change)
    : executor_(std::move(executor)),
      engine_(engine),
      alarms_(alarms),
      clock_(clock),
      random_(random),
      settings_(std::move(settings)),
      on_change_(std::move(on_change)) {
    static const std::string sha256 = [] {
        store::Sha256 hash;
        hash.update(init_image());
        return hash.finish();
    }();
    init_sha256_ = sha256;
}

std::string ImageCache::repository() const {
    return fmt::format("{}-{}", settings_.repository_prefix, settings_.instance_id.substr(0, 8));
}

std::string ImageCache::tag_for(const std::string& base_id) const {
    return store::sha256_hex(fmt::format("{} {} {}", base_id, init_sha256_, kLayoutVersion))
        .substr(0, kTagHexDigits);
}

ImageEvidence ImageCache::state(const std::string& reference) const {
    const auto found = entries_.find(reference);
    if (found == entries_.end()) return {};
    const auto& entry = found->second;
    const auto age_ms = clock_.now_ms() - entry.settled_ms;
    using State = ImageEvidence::State;
    if (entry.evidence.state == State::failed && age_ms > settings_.failure_kept_ms) return {};
    if (entry.evidence.state == State::ready && age_ms > settings_.recheck_ms) return {};
    return entry.evidence;
}

std::string ImageCache::prepared_id(const std::string& reference) const {
    const auto found = entries_.find(reference);
    return found == entries_.end() ? "" : found->second.evidence.prepared_id;
}

std::string ImageCache::any_prepared_id() const {
    for (const auto& [reference, entry] : entries_) {
        if (!entry.evidence.prepared_id.empty()) return entry.evidence.prepared_id;
    }
    return "";
}

std::int64_t ImageCache::failing_for_ms(const std::string& reference) const {
    const auto found = entries_.find(reference);
    if (found == entries_.end() || found->second.failing_since_ms == 0) return 0;
    return clock_.now_ms() - found->second.failing_since_ms;
}

void ImageCache::request(const std::string& reference) {
    auto& entry = entries_[reference];
    entry.used_ms = clock_.now_ms();
    if (entry.in_flight) return;
    entry.in_flight = true;
    entry.evidence.state = ImageEvidence::State::working;
    entry.evidence.message = "looking for the image";
    asio::co_spawn(executor_, settle(reference), log_exceptions("image cache"));
}

void ImageCache::invalidate(const std::string& reference) {
    auto found = entries_.find(reference);
    if (found != entries_.end() && !found->second.in_flight) found->second.evidence = {};
}

void ImageCache::invalidate_prepared(const std::string& prepared_id) {
    for (auto& [reference, entry] : entries_) {
        if (entry.evidence.prepared_id == prepared_id && !entry.in_flight) entry.evidence = {};
    }
}

void ImageCache::forget_all() {
    std::erase_if(entries_, [](const auto& item) { return !item.second.in_flight; });
}

void ImageCache::set_progress(const std::string& reference, std::string text) {
    auto& entry = entries_[reference];
    const auto now_ms = clock_.now_ms();
    if (now_ms - entry.progress_ms < kProgressEveryMs) return;
    entry.progress_ms = now_ms;
    entry.evidence.message = std::move(text);
    on_change_(reference);
}

asio::awaitable<void> ImageCache::settle(std::string reference) {
    auto outcome = co_await resolve(reference);
    if (!outcome && outcome.error().engine_down) {
        // Who asks would ask again at once.
        const auto failures = ++entries_[reference].failures;
        const auto alarm = alarms_.make();
        co_await alarm->wait(backoff_ms(settings_.engine_backoff, failures, random_.next_u64()));
    } else {
        entries_[reference].failures = 0;
    }
    auto& entry = entries_[reference];
    entry.in_flight = false;
    entry.settled_ms = clock_.now_ms();
    if (outcome || outcome.error().engine_down) {
        entry.failing_since_ms = 0;
    } else if (entry.failing_since_ms == 0) {
        entry.failing_since_ms = entry.settled_ms;
    }
    if (outcome) {
        entry.evidence = {.state = ImageEvidence::State::ready,
                          .prepared_id = *outcome,
                          .reason = {},
                          .message = {}};
    } else if (outcome.error().engine_down) {
        entry.evidence = {};
    } else {
        entry.evidence = {.state = ImageEvidence::State::failed,
                          .prepared_id = {},
                          .reason = outcome.error().reason,
                          .message = outcome.error().message};
    }
    on_change_(reference);
}

asio::awaitable<ImageCache::Outcome<std::string>> ImageCache::resolve(std::string reference) {
    auto base = co_await base_image(reference);
    if (!base) co_return std::unexpected(base.error());
    if (base->os != "linux" || (!base->arch.empty() && base->arch != init_arch())) {
        co_return std::unexpected(
            Failure{Reason::ImageUnsupported,
                    fmt::format("image {} is for {}/{}; this engine's runs need linux/{}",
                                reference, base->os, base->arch, init_arch())});
    }
    if (!base->volumes.empty()) {
        co_return std::unexpected(Failure{
            Reason::ImageUnsupported, fmt::format("image {} declares a volume at {}: it would be "
                                                  "writable outside of every limit; build the "
                                                  "image without VOLUME",
                                                  reference, base->volumes.front())});
    }
    const auto tag = tag_for(base->id);
    auto prepared = co_await engine_.inspect_image(repository() + ":" + tag);
    if (prepared) {
        const auto& labels = prepared->labels;
        const auto label_base = labels.find(std::string(kImageLabelBase));
        const auto label_init = labels.find(std::string(kImageLabelInit));
        if (label_base != labels.end() && label_base->second == base->id &&
            label_init != labels.end() && label_init->second == init_sha256_) {
            co_return prepared->id;
        }
        metrics::log_warn("an image has our name and not our labels; made anew",
                          {{"image", repository() + ":" + tag}});
    } else if (prepared.error().kind != EngineError::Kind::not_found) {
        co_return std::unexpected(
            Failure{Reason::ImageUnavailable, prepared.error().message, true});
    }
    co_return co_await build(base->id, tag);
}

asio::awaitable<ImageCache::Outcome<ImageFacts>> ImageCache::base_image(std::string reference) {
    if (settings_.pull_policy == PullPolicy::always) {
        auto pulled = co_await pull(reference);
        if (!pulled) co_return std::unexpected(pulled.error());
    }
    auto facts = co_await engine_.inspect_image(reference);
    if (facts) co_return *facts;
    if (facts.error().kind != EngineError::Kind::not_found) {
        const bool retry = facts.error().kind != EngineError::Kind::rejected;
        co_return std::unexpected(Failure{Reason::ImageUnavailable, facts.error().message, retry});
    }
    if (settings_.pull_policy == PullPolicy::never) {
        co_return std::unexpected(
            Failure{Reason::ImageUnavailable,
                    fmt::format("image {} is not on the engine, and the pull policy is `never`",
                                reference)});
    }
    auto pulled = co_await pull(reference);
    if (!pulled) co_return std::unexpected(pulled.error());
    facts = co_await engine_.inspect_image(reference);
    if (facts) co_return *facts;
    co_return std::unexpected(Failure{Reason::ImageUnavailable, facts.error().message,
                                      facts.error().kind != EngineError::Kind::not_found});
}

asio::awaitable<ImageCache::Outcome<void>> ImageCache::pull(std::string reference) {
    auto wait_ms = settings_.pull_retry_ms;
    for (std::int64_t tries = 1;; ++tries) {
        const PullProgress progress = [this, reference](std::string_view text) {
            set_progress(reference, std::string(text));
        };
        auto reply = co_await engine_.pull_image(reference, progress);
        if (reply) co_return Outcome<void>{};
        const auto& error = reply.error();
        if (error.kind == EngineError::Kind::unreachable) {
            co_return std::unexpected(Failure{Reason::ImageUnavailable, error.message, true});
        }
        if (tries >= settings_.pull_tries_max || error.kind == EngineError::Kind::not_found) {
            co_return std::unexpected(Failure{
                Reason::ImageUnavailable,
                fmt::format("image {} could not be pulled: {}", reference, error.message)});
        }
        entries_[reference].progress_ms = 0;
        set_progress(reference, fmt::format("pull failed ({}); trying again", error.message));
        const auto alarm = alarms_.make();
        co_await alarm->wait(wait_ms);
        wait_ms *= 2;
    }
}

asio::awaitable<ImageCache::Outcome<std::string>> ImageCache::build(std::string base_id,
                                                                    std::string tag) {
    const auto failure = [](const EngineError& error) {
        return std::unexpected(
            Failure{Reason::ImageUnavailable,
                    fmt::format("the image could not be prepared: {}", error.message),
                    // Its name is new each time: who holds it is our own request, come twice.
                    error.is_unknown() || error.is_engine_down() ||
                        error.kind == EngineError::Kind::conflict});
    };
    auto tar = layer_tar();
    if (!tar) co_return std::unexpected(Failure{Reason::InternalError, tar.error()});
    FileSource source(*tar);  // owns it
    const std::string name = repository() + "-build-" + store::make_nonce(random_);
    std::map<std::string, std::string> labels{{std::string(kLabelInstance), settings_.instance_id},
                                              {std::string(kLabelRole), "build"}};
    auto container = co_await engine_.create_build_container(name, base_id, labels);
    if (!container) co_return failure(container.error());
    auto put = co_await engine_.put_archive(container->id, "/", source);
    Reply<std::string> image;
    if (put) {
        // A commit keeps the container's labels: overwritten, so that nothing made from this image
        // looks like ours.
        std::map<std::string, std::string> image_labels{
            {std::string(kImageLabelInstance), settings_.instance_id},
            {std::string(kImageLabelBase), base_id},
            {std::string(kImageLabelInit), init_sha256_},
            {std::string(kLabelInstance), ""},
            {std::string(kLabelRole), ""}};
        image = co_await engine_.commit_image(container->id, repository(), tag, image_labels);
    }
    auto removed = co_await engine_.remove_container(container->id, true);
    if (!removed) {
        metrics::log_warn("build container left for the sweep",
                          {{"container", name}, {"error", removed.error().message}});
    }
    if (!put) co_return failure(put.error());
    if (!image) co_return failure(image.error());
    metrics::log_info("image prepared", {{"image", repository() + ":" + tag}, {"base", base_id}});
    co_return *image;
}

asio::awaitable<ImageCache::Swept> ImageCache::sweep(std::set<std::string> images_in_use) {
    for (const auto& [reference, entry] : entries_) {
        if (clock_.now_ms() - entry.used_ms < settings_.unused_kept_ms)
            images_in_use.insert(entry.evidence.prepared_id);
    }
    auto images = co_await engine_.list_images(
        fmt::format("{}={}", kImageLabelInstance, settings_.instance_id));
    Swept swept;
    if (!images) co_return swept;
    const auto now_ms = clock_.now_ms();
    for (const auto& image : *images) {
        const auto init = image.labels.find(std::string(kImageLabelInit));
        const bool outdated = init == image.labels.end() || init->second != init_sha256_;
        const bool old = now_ms - image.created_ms > settings_.unused_kept_ms;
        if (images_in_use.contains(image.id) || (!outdated && !old)) {
            ++swept.kept;
            continue;
        }
        auto reply = co_await engine_.remove_image(image.id);
        ++(reply ? swept.removed : swept.kept);
    }
    co_return swept;
}

}  // namespace mayfly::controller
