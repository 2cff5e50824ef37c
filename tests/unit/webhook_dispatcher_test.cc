// What is sent when, with time, network and waiting in the test's hand. The store is the real one.
#include "controller/webhook/dispatcher.h"

#include <gtest/gtest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>

#include "controller/webhook/signature.h"
#include "tests/unit/store_fixtures.h"

namespace mayfly::controller::webhook {
namespace {

namespace asio = boost::asio;

class HandClock final : public store::Clock {
public:
    [[nodiscard]] store::UnixMs now_ms() const override { return now; }
    [[nodiscard]] std::int64_t steady_us() const override { return now * 1'000; }
    store::UnixMs now = 1'000'000;
};

class NoRandom final : public store::Random {
public:
    std::uint64_t next_u64() override { return 1'000; }  // the whole of the first pause, 2 s
};

// Waits for ever, but for ring() and for advance().
class HandAlarms final : public Alarms {
public:
    HandAlarms(asio::io_context& io, HandClock& clock) : io_(io), clock_(clock) {}
    std::unique_ptr<Alarm> make() override { return std::make_unique<One>(*this); }

    void advance(std::int64_t ms) {
        clock_.now += ms;
        for (One* one : all_) {
            if (one->due_ms <= clock_.now) one->ring();
        }
    }

private:
    struct One final : Alarm {
        explicit One(HandAlarms& of) : owner(of), timer(of.io_) { owner.all_.push_back(this); }
        ~One() override { std::erase(owner.all_, this); }
        asio::awaitable<void> wait(std::int64_t delay_ms) override {
            if (!rung) {
                due_ms = delay_ms < 0 ? INT64_MAX : owner.clock_.now + delay_ms;
                timer.expires_at(asio::steady_timer::time_point::max());
                co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
            }
            rung = false;
            due_ms = INT64_MAX;
        }
        void ring() override {
            rung = true;
            timer.cancel();
        }
        HandAlarms& owner;
        asio::steady_timer timer;
        std::int64_t due_ms = INT64_MAX;
        bool rung = false;
    };

    asio::io_context& io_;
    HandClock& clock_;
    std::vector<One*> all_;
};

// A network in which every try is answered by hand.
class HandSender final : public Sender {
public:
    explicit HandSender(asio::io_context& io) : io_(io) {}

    struct Try {
        explicit Try(asio::io_context& io) : answered(io) {}
        Post post;
        asio::steady_timer answered;
        TryResult result;
    };

    asio::awaitable<TryResult> send(Post post) override {
        auto& mine = *tries.emplace_back(std::make_unique<Try>(io_));
        mine.post = std::move(post);
        mine.answered.expires_at(asio::steady_timer::time_point::max());
        co_await mine.answered.async_wait(asio::as_tuple(asio::use_awaitable));
        co_return mine.result;
    }
    void close() override {
        closed = true;
        for (const auto& each : tries) each->answered.cancel();
    }
    void answer(std::size_t at, TryResult result) {
        tries[at]->result = std::move(result);
        tries[at]->answered.cancel();
    }

    std::deque<std::unique_ptr<Try>> tries;
    bool closed = false;

private:
    asio::io_context& io_;
};

constexpr const char* kSecret = "a secret of some length";

class DispatcherTest : public testing::Test {
protected:
    // One process: a store on the folder's database, and a dispatcher.
    struct Process {
        Process(const std::filesystem::path& file, HandClock& clock, std::int64_t parallel)
            : alarms(io, clock),
              sender(io),
              store(store::open_database(file), io.get_executor(), true),
              dispatcher({io.get_executor(), store, sender, alarms, clock, random, families},
                         {.policy = {.tries_max = 3}, .parallel = parallel}) {
            asio::co_spawn(io, dispatcher.run(), asio::detached);
            settle();
        }
        ~Process() { store.stop(); }
        void settle() {
            io.restart();
            while (io.poll() > 0) {
            }
        }

        asio::io_context io;
        HandAlarms alarms;
        HandSender sender;
        NoRandom random;
        metrics::Families families{"0"};
        store::Store store;
        Dispatcher dispatcher;
    };

    void begin(std::int64_t parallel = 4) {
        process_.reset();
        process_.emplace(folder_ / "mayfly.db", clock_, parallel);
    }

    void apply(store::Mutation mutation) {
        asio::co_spawn(process_->io, process_->store.apply(std::move(mutation)), asio::detached);
        process_->settle();
    }

    // A run from its submission to its end, which is what is told.
    void end_run(std::int64_t n, const std::string& url = "https://a.example/hook",
                 bool all_events = false) {
        auto run = store::new_run(n);
        run.spec.webhook = store::Webhook{.url = url, .secret = kSecret, .all_events = all_events};
        asio::co_spawn(process_->io, process_->store.create_run(run), asio::detached);
        process_->settle();
        const auto id = store::id_of(n);
        apply(store::bind_attempt(id, 1));
        apply(store::start_intent(id, 1));
        apply(store::started(id, 1));
        apply(store::exited(id, 1));
        apply(store::finished(id, 1));
    }

    void answer(std::size_t at, TryResult result) {
        process_->sender.answer(at, std::move(result));
        process_->settle();
    }
    void advance(std::int64_t ms) {
        process_->alarms.advance(ms);
        process_->settle();
    }
    [[nodiscard]] std::size_t sent() const { return process_->sender.tries.size(); }
    [[nodiscard]] const Post& post(std::size_t at) const {
        return process_->sender.tries[at]->post;
    }

    store::TempFolder folder_;
    HandClock clock_;
    std::optional<Process> process_;
};

TEST_F(DispatcherTest, TellsTheEndOfARunAtOnceAndSigned) {
    begin();
    EXPECT_EQ(sent(), 0U);
    end_run(1);
    ASSERT_EQ(sent(), 1U);
    EXPECT_EQ(post(0).url, "https://a.example/hook");
    EXPECT_EQ(post(0).number, 1);
    EXPECT_EQ(post(0).timestamp_s, 1'000);
    EXPECT_EQ(post(0).signature, sign(kSecret, 1'000, post(0).body));
    EXPECT_NE(post(0).body.find("\"finished\""), std::string::npos);
    answer(0, {.status = 200});
    advance(10'000'000);
    EXPECT_EQ(sent(), 1U) << "delivered is delivered";
    begin();
    EXPECT_EQ(sent(), 0U) << "also after a restart";
}

TEST_F(DispatcherTest, ComesAgainInItsTimeAndNotBefore) {
    begin();
    end_run(1);
    answer(0, {.status = 500});
    advance(1'999);
    EXPECT_EQ(sent(), 1U);
    advance(1);
    ASSERT_EQ(sent(), 2U);
    EXPECT_EQ(post(1).number, 2);
    EXPECT_EQ(post(1).event_id, post(0).event_id);
    EXPECT_EQ(post(1).body, post(0).body);
    EXPECT_EQ(post(1).timestamp_s, 1'002) << "signed anew";
    answer(1, {.status = 503, .retry_after_s = 100});
    advance(99'999);
    EXPECT_EQ(sent(), 2U);
    advance(1);
    ASSERT_EQ(sent(), 3U);
    answer(2, {.error = "cannot connect"});
    advance(100'000'000);
    EXPECT_EQ(sent(), 3U) << "three tries are all";
}

TEST_F(DispatcherTest, WhatWasUnderWayWhenTheProcessDiedIsSentAgain) {
    begin();
    end_run(1);
    ASSERT_EQ(sent(), 1U);
    const auto event_id = post(0).event_id;
    begin();
    ASSERT_EQ(sent(), 1U);
    EXPECT_EQ(post(0).event_id, event_id);
    EXPECT_EQ(post(0).number, 1);
}

TEST_F(DispatcherTest, AsksEachReceiverOneAtATime) {
    begin();
    end_run(1);
    end_run(2);
    end_run(3, "https://b.example/");
    ASSERT_EQ(sent(), 2U) << "the second of a.example waits for the first";
    EXPECT_EQ(post(1).url, "https://b.example/");
    answer(0, {.status = 200});
    ASSERT_EQ(sent(), 3U);
    EXPECT_EQ(post(2).url, "https://a.example/hook");
}

TEST_F(DispatcherTest, AsksNoMoreAtATimeThanItMay) {
    begin(2);
    for (std::int64_t n = 1; n <= 5; ++n) end_run(n, "https://h" + std::to_string(n) + "/");
    EXPECT_EQ(sent(), 2U);
    answer(0, {.status = 500});
    EXPECT_EQ(sent(), 3U) << "one that failed makes room";
    answer(1, {.status = 200});
    answer(2, {.status = 200});
    EXPECT_EQ(sent(), 5U);
}

TEST_F(DispatcherTest, OneThatFailsDoesNotHoldUpTheNextOfItsReceiver) {
    begin();
    end_run(1);
    end_run(2);
    answer(0, {.status = 500});
    ASSERT_EQ(sent(), 2U);
    EXPECT_NE(post(1).event_id, post(0).event_id);
}

TEST_F(DispatcherTest, TellsThatARunIsGoneAlthoughNothingElseHappens) {
    begin();
    end_run(1, "https://a.example/hook", true);
    apply(store::collected(store::id_of(1), 1));
    for (std::size_t at = 0; at < sent(); ++at) answer(at, {.status = 200});
    const auto before = sent();
    advance(1'000'000'000'000);  // its ttl_s is long over
    std::optional<store::Result<void>> purged;
    const auto note = [&purged](std::exception_ptr, store::Result<void> result) {
        purged = std::move(result);
    };
    asio::co_spawn(process_->io, process_->store.purge(store::id_of(1)), note);
    process_->settle();
    ASSERT_TRUE(purged && purged->has_value()) << purged->error().message;
    ASSERT_EQ(sent(), before + 1);
    EXPECT_NE(post(before).body.find("\"deleted\""), std::string::npos) << post(before).body;
}

TEST_F(DispatcherTest, ComesToRestWhenNoTryIsUnderWay) {
    begin();
    end_run(1);
    process_->dispatcher.stop();
    bool rested = false;
    const auto note = [&rested](std::exception_ptr) { rested = true; };
    asio::co_spawn(process_->io, process_->dispatcher.rest(5'000), note);
    process_->settle();
    EXPECT_FALSE(rested);
    answer(0, {.status = 200});
    EXPECT_TRUE(rested);
    begin();
    EXPECT_EQ(sent(), 0U) << "it was recorded";
}

TEST_F(DispatcherTest, CutsWhatTakesTooLongAndSendsItAgain) {
    begin();
    end_run(1);
    process_->dispatcher.stop();
    bool rested = false;
    const auto note = [&rested](std::exception_ptr) { rested = true; };
    asio::co_spawn(process_->io, process_->dispatcher.rest(5'000), note);
    process_->settle();
    advance(5'000);
    EXPECT_TRUE(rested);
    EXPECT_TRUE(process_->sender.closed);
    begin();
    ASSERT_EQ(sent(), 1U);
    EXPECT_EQ(post(0).number, 1) << "that it was cut says nothing of the receiver";
}

TEST_F(DispatcherTest, CountsWhatBecameOfEachTry) {
    begin();
    end_run(1);
    end_run(2, "https://b.example/");
    end_run(3, "https://c.example/");
    end_run(4, "https://d.example/");
    answer(0, {.status = 200});
    answer(1, {.status = 500});
    answer(2, {.error = "refused: ...", .refused = true});
    answer(3, {.status = 410});
    const auto text = process_->families.expose();
    for (const char* result : {"delivered", "failed", "refused", "given_up"}) {
        const auto line =
            std::string("mayfly_webhook_deliveries_total{result=\"") + result + "\"} 1\n";
        EXPECT_NE(text.find(line), std::string::npos) << line;
    }
    EXPECT_NE(text.find("mayfly_webhook_pending 2\n"), std::string::npos);
    EXPECT_NE(text.find("mayfly_webhook_try_seconds_count 4\n"), std::string::npos);
}

}  // namespace
}  // namespace mayfly::controller::webhook
