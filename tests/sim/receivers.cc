#include "tests/sim/receivers.h"

#include "controller/webhook/signature.h"
#include "store/webhook.h"

namespace mayfly::sim {
namespace {

namespace asio = boost::asio;
using controller::webhook::Post;
using controller::webhook::TryResult;

constexpr std::int64_t kTimeoutMs = 10'000;
constexpr std::int64_t kLatencyMaxMs = 20;
constexpr std::int64_t kSlowMaxMs = 9'000;

}  // namespace

std::string Receivers::url_of(const Job& job) {
    return fmt::format("https://receiver-{}.example/jobs/{}", job.number % 2, job.number);
}

std::string Receivers::secret_of(const Job& job) {
    return job.number % 3 == 0 ? "" : fmt::format("the secret of job {}", job.number);
}

void Receivers::check(const Post& post, const Told& told, const Life& life, const Job& job) {
    const auto wrong = [&](std::string_view why) {
        world_.violate("I24", fmt::format("try {} of event {} to {}: {}", post.number,
                                          post.event_id, post.url, why));
    };
    const auto secret = secret_of(job);
    const auto signature =
        secret.empty() ? "" : controller::webhook::sign(secret, post.timestamp_s, post.body);
    if (post.signature != signature) wrong("its signature is not the receiver's");
    if (post.timestamp_s != world_.now_ms() / 1'000) wrong("it was not signed now");
    if (told.number == 0) {
        if (post.number != 1) wrong("it is the first");
        return;
    }
    if (post.url != told.url || post.body != told.body) wrong("the one before said otherwise");
    // A try that no life has recorded is made again under its number.
    const bool is_next = post.number == told.number + 1;
    const bool is_again = post.number == told.number && life.number != told.life;
    if (!is_next && !is_again) wrong(fmt::format("it comes after try {}", told.number));
    if (told.over && life.number == told.life) wrong("the one before has settled it");
    if (post.number > kTriesMax) wrong("it should have been given up");
}

Receivers::Answer Receivers::take(const Post& post, const Life& life) {
    ++posts_;
    world_.trace("webhook: event {} to {}, try {}", post.event_id, post.url, post.number);
    const auto found = jobs_.find(post.url);
    if (found == jobs_.end()) {
        world_.violate("I24", "nobody asked to be told at " + post.url);
        return {};
    }
    const Job& job = *found->second;
    auto& told = told_[post.event_id];
    check(post, told, life, job);
    if (life.number != told.life && told.number > 0) {
        world_.probe("webhook: a process told what another one had told");
    }
    told.url = post.url;
    told.body = post.body;
    told.number = post.number;
    told.life = life.number;

    auto& rng = world_.rng(Stream::receivers);
    const auto soon_ms = rng.below(kLatencyMaxMs);
    const auto way_to_fail = rng.below(6);
    if (told.failed >= job.webhook_failures) {
        told.over = true;
        if (way_to_fail != 0) return {{.status = 204}, soon_ms};
        world_.probe("webhook: a slow receiver");
        return {{.status = 200}, rng.below(kSlowMaxMs)};
    }
    ++told.failed;
    told.over = post.number >= kTriesMax;
    if (told.over) world_.probe("webhook: given up");
    switch (way_to_fail) {
        case 0:
            world_.probe("webhook: no receiver");
            return {{.error = "cannot connect"}, soon_ms};
        case 1:
            world_.probe("webhook: it was taken, and nobody heard of that");
            return {{.error = "no answer in time"}, kTimeoutMs};
        case 2:
            world_.probe("webhook: later, please");
            return {{.status = 503, .retry_after_s = 30}, soon_ms};
        case 3:
            world_.probe("webhook: never again, please");
            told.over = true;
            return {{.status = 410}, soon_ms};
        default:
            return {{.status = 500}, soon_ms};
    }
}

SimSender::SimSender(World& world, Waits& waits, Receivers& receivers, LifePtr life)
    : world_(world), waits_(waits), receivers_(receivers), life_(std::move(life)) {}

asio::awaitable<TryResult> SimSender::send(Post post) {
    if (!world_.may(life_, "POST /webhook")) co_await let_pass(waits_, -1);
    const auto origin = store::origin_of(post.url);
    if (!under_way_.insert(origin).second) {
        world_.violate("I24", "two tries at a time for " + origin);
    }
    const auto answer = receivers_.take(post, *life_);
    world_.did(life_);
    co_await let_pass(waits_, answer.after_ms);
    world_.saw(life_);
    under_way_.erase(origin);
    co_return answer.result;
}

}  // namespace mayfly::sim
