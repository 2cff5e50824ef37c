// How each reply of an engine is read: one action, the replies that it meets, and what is known of
// the run afterwards. The images and the spool are the real ones.
#include "controller/apply.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <any>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "controller/init/init_image.h"
#include "store/input_tar.h"
#include "tests/support/asked_facts.h"
#include "tests/unit/store_fixtures.h"

namespace mayfly::controller {
namespace {

namespace asio = boost::asio;
using E = EngineError::Kind;
using Container = Evidence::Container;
using Claim = Evidence::Claim;
using Start = Evidence::Start;
using store::Stage;

constexpr const char* kInstance = "instance-1";
constexpr const char* kNonce = "cafe";
constexpr const char* kPrepared = "sha256:prepared";
constexpr std::string_view kInputs = "the bytes of the tar";

// What an engine will say, in the order of its calls; and what it was asked.
class ToldEngine final : public Engine {
public:
    struct Line {
        std::string call;
        std::any reply;  // Reply<T> of the call
    };
    std::deque<Line> lines;
    std::vector<std::string> asked;

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] const std::string& endpoint() const override { return name_; }

    Call<EngineFacts> probe() override { return next<EngineFacts>("probe"); }
    Call<ImageFacts> inspect_image(std::string) override { return next<ImageFacts>("image"); }
    Call<void> pull_image(std::string, PullProgress) override { return next<void>("pull"); }
    Call<std::string> commit_image(std::string, std::string, std::string,
                                   std::map<std::string, std::string>) override {
        return next<std::string>("commit");
    }
    Call<RemoveOutcome> remove_image(std::string) override {
        return next<RemoveOutcome>("remove image");
    }
    Call<std::vector<ImageFacts>> list_images(std::string) override {
        return next<std::vector<ImageFacts>>("images");
    }
    Call<CreatedContainer> create_container(Sandbox sandbox) override {
        return next<CreatedContainer>("create " + sandbox.name);
    }
    Call<CreatedContainer> create_build_container(std::string, std::string,
                                                  std::map<std::string, std::string>) override {
        return next<CreatedContainer>("create build");
    }
    Call<ContainerFacts> inspect_container(std::string id_or_name) override {
        return next<ContainerFacts>("inspect " + id_or_name);
    }
    Call<std::vector<ContainerSummary>> list_containers(std::string) override {
        return next<std::vector<ContainerSummary>>("containers");
    }
    Call<StartOutcome> start_container(std::string id) override {
        return next<StartOutcome>("start " + id);
    }
    Call<KillOutcome> kill_container(std::string id, std::string signal) override {
        return next<KillOutcome>("kill " + id + " " + signal);
    }
    Call<RemoveOutcome> remove_container(std::string id, bool force) override {
        return next<RemoveOutcome>("remove " + id + (force ? "" : " politely"));
    }
    Call<void> put_archive(std::string id, std::string path, ByteSource& source) override {
        return next<void>(fmt::format("put {} {} {}", id, path, path == "/" ? 0 : source.size()));
    }
    Call<void> get_archive(std::string, std::string, ByteSink&) override {
        return next<void>("get");
    }
    Call<PathStat> stat_path(std::string id, std::string path) override {
        return next<PathStat>("stat " + id + " " + path);
    }
    Call<void> read_logs(std::string, LogSink&) override { return next<void>("logs"); }
    Call<void> follow_logs(std::string, LogSink&, std::shared_ptr<HangUp>) override {
        return next<void>("follow");
    }
    Call<VolumeFacts> inspect_volume(std::string) override { return next<VolumeFacts>("volume"); }
    Call<std::vector<VolumeFacts>> list_volumes(std::string) override {
        return next<std::vector<VolumeFacts>>("volumes");
    }
    Call<RemoveOutcome> remove_volume(std::string) override {
        return next<RemoveOutcome>("remove volume");
    }
    Call<void> events(std::string, std::function<void()>, EventListener) override {
        return next<void>("events");
    }

private:
    template <class T>
    Call<T> next(std::string call) {
        asked.push_back(call);
        if (lines.empty() || lines.front().call != call) {
            ADD_FAILURE() << "asked to " << call << ", and expected "
                          << (lines.empty() ? std::string("nothing") : lines.front().call);
            lines.clear();
            co_return std::unexpected(EngineError{E::protocol, 0, call, "not expected"});
        }
        auto reply = std::any_cast<Reply<T>>(lines.front().reply);
        lines.pop_front();
        co_return reply;
    }

    std::string name_ = "default";
};

using Line = ToldEngine::Line;

template <class T>
Line yes(std::string call, T value) {
    return {std::move(call), Reply<T>(std::move(value))};
}
Line done(std::string call) { return {std::move(call), Reply<void>()}; }
template <class T>
Line no(std::string call, E kind) {
    const EngineError error{kind, 0, call, "says the engine"};
    return {std::move(call), Reply<T>(std::unexpected(error))};
}

class HandClock final : public store::Clock {
public:
    [[nodiscard]] store::UnixMs now_ms() const override { return 1'000'000; }
    [[nodiscard]] std::int64_t steady_us() const override { return 1'000'000; }
};

class NoRandom final : public store::Random {
public:
    std::uint64_t next_u64() override { return 7; }
};

constexpr const char* kName = "mayfly-x-1";
constexpr const char* kProbe = "mayfly-x-1-probe";

// One run, whose attempt is at some stage, on an engine of which only its image is known yet.
class World {
public:
    World() : data_dir(*store::DataDir::open(folder / "data")) {
        auto& run = live->record.run;
        run.id = store::id_of(1);
        run.spec.image = "busybox";
        run.spec.command = {"true"};
        run.spec.limits = {.timeout_s = 60,
                           .memory_bytes = 64 << 20,
                           .cpu_millis = 1'000,
                           .pids = 16,
                           .work_bytes = 1 << 20,
                           .tmp_bytes = 1 << 20,
                           .log_bytes = 1 << 20,
                           .artifact_bytes = 1 << 20,
                           .artifact_files = 9};
        run.stored_bytes = static_cast<std::int64_t>(kInputs.size());
        auto inputs = data_dir.create_file();
        EXPECT_EQ(write(inputs->fd(), kInputs.data(), kInputs.size()),
                  static_cast<ssize_t>(kInputs.size()));
        EXPECT_TRUE(data_dir.publish(std::move(*inputs), run.id, store::kInputTar));

        settings.sandbox.instance_id = kInstance;
        store::Attempt attempt;
        attempt.number = 1;
        attempt.container_name = kName;
        attempt.volume_name = "mayfly-x-1-cafe";
        attempt.nonce = kNonce;
        live->record.attempt = attempt;

        // The image is had as in life: found, and prepared.
        ImageFacts base;
        base.id = "sha256:base";
        base.os = "linux";
        base.arch = std::string(init_arch());
        engine.lines = {yes("image", base),
                        no<ImageFacts>("image", E::not_found),
                        yes("create build", CreatedContainer{"b", {}}),
                        done("put b / 0"),
                        yes("commit", std::string(kPrepared)),
                        yes("remove b", RemoveOutcome::removed)};
        images.request("busybox");
        io.run();
        io.restart();
        EXPECT_EQ(images.prepared_id("busybox"), kPrepared);
        engine.asked.clear();
    }

    [[nodiscard]] Evidence& evidence() const { return live->evidence; }

    // A container that this process made, created and not yet looked at.
    void made() const {
        evidence().container = Container::present;
        evidence().container_id = "id";
        evidence().image_id = kPrepared;
        evidence().state = ContainerState::created;
    }
    void prepared() const {
        made();
        evidence().facts = facts();
        evidence().verified = evidence().inputs_put = true;
    }
    [[nodiscard]] ContainerFacts facts() const {
        auto as_asked = facts_as_asked(
            make_sandbox(settings.sandbox, live->record.run, *live->record.attempt, kPrepared));
        as_asked.id = "id";
        return as_asked;
    }
    [[nodiscard]] ContainerFacts probe_facts() const {
        auto as_asked = facts_as_asked(
            make_probe(settings.sandbox, live->record.run, *live->record.attempt, kPrepared));
        as_asked.id = "p";
        return as_asked;
    }

    StepOutcome apply(const Action& action) {
        StepOutcome outcome;
        asio::co_spawn(io, applier.apply(action, live),
                       [&outcome](const std::exception_ptr& thrown, StepOutcome said) {
                           EXPECT_FALSE(thrown);
                           outcome = std::move(said);
                       });
        io.run();
        io.restart();
        EXPECT_TRUE(engine.lines.empty()) << "it did not ask to " << engine.lines.front().call;
        return outcome;
    }

    store::TempFolder folder;
    store::DataDir data_dir;
    asio::io_context io;
    HandClock clock;
    NoRandom random;
    ToldEngine engine;
    std::unique_ptr<Alarms> alarms = system_alarms(io.get_executor());
    ImageCache images{io.get_executor(),
                      engine,
                      *alarms,
                      clock,
                      random,
                      ImageSettings{.instance_id = kInstance},
                      [](const std::string&) {}};
    PlanSettings settings;
    Harvester harvester{engine, data_dir, io.get_executor()};
    Applier applier{engine, images, harvester, data_dir, settings};
    LivePtr live = std::make_shared<Live>();
};

// What is known, in words; what is not known is not said.
std::string known(const Evidence& ev) {
    std::string words;
    const auto say = [&words](bool is, std::string_view what) {
        if (!is) return;
        if (!words.empty()) words += ' ';
        words += what;
    };
    say(ev.container == Container::absent, "absent");
    say(ev.container == Container::present, "present");
    say(ev.state != ContainerState::unknown, to_string(ev.state));
    say(ev.container == Container::present && ev.container_id != "id", ev.container_id);
    say(ev.facts.has_value(), "facts");
    say(ev.verified, "verified");
    say(!ev.violations.empty(), "violations");
    say(!ev.create_warnings.empty(), "warnings");
    say(ev.put_is_safe, "safe");
    say(ev.inputs_put, "inputs");
    say(!ev.inputs_error.empty(), "inputs_error");
    say(!ev.rejected.empty(), "rejected");
    say(ev.name_taken, "name_taken");
    say(ev.name_conflict, "name_conflict");
    say(ev.rebuild, "rebuild");
    constexpr std::string_view kStarts[] = {"", "armed", "accepted", "refused", "unclear"};
    say(ev.start != Start::none, kStarts[static_cast<std::size_t>(ev.start)]);
    say(ev.start_failures > 0, "failed start");
    constexpr std::string_view kClaims[] = {"", "untouched", "taken", "volume_gone"};
    say(ev.claim != Claim::unknown, kClaims[static_cast<std::size_t>(ev.claim)]);
    say(ev.term_sent, "term");
    say(ev.kill_sent, "kill");
    say(ev.container_removed, "removed");
    say(ev.volume_removed, "volume removed");
    say(ev.look, "look");
    return words;
}

std::string_view name_of(StepOutcome::Kind kind) {
    constexpr std::string_view kNames[] = {"progress", "retry", "engine_down"};
    return kNames[static_cast<std::size_t>(kind)];
}

struct Case {
    std::string sentence;
    std::function<void(World&)> before;
    Action action;
    std::function<std::vector<Line>(const World&)> engine;
    std::string outcome;
    std::string afterwards;
};

void PrintTo(const Case& row, std::ostream* out) { *out << row.sentence; }

class ApplyTable : public testing::TestWithParam<Case> {};

TEST_P(ApplyTable, Holds) {
    const auto& row = GetParam();
    World world;
    if (row.before) row.before(world);
    for (auto& line : row.engine(world)) world.engine.lines.push_back(std::move(line));
    const auto outcome = world.apply(row.action);
    EXPECT_EQ(name_of(outcome.kind), row.outcome) << row.sentence << ": " << outcome.error;
    EXPECT_EQ(known(world.evidence()), row.afterwards) << row.sentence;
}

using W = World&;
using Lines = std::vector<Line>;

void made(W w) { w.made(); }
void prepared(W w) { w.prepared(); }
void nothing(W) {}

void first(W w) { w.evidence().volume_unmade = true; }

Lines created(const World&) { return {yes("create mayfly-x-1", CreatedContainer{"id", {}})}; }
std::function<Lines(const World&)> not_created(E kind) {
    return [kind](const World&) { return Lines{no<CreatedContainer>("create mayfly-x-1", kind)}; };
}

INSTANTIATE_TEST_SUITE_P(
    Create, ApplyTable,
    testing::Values(
        Case{"the first one of an attempt brings its volume, in which nothing can have run", first,
             CreateContainer{}, created, "progress", "present created safe"},
        Case{"a container that was made is there, and nothing else is known of it", nothing,
             CreateContainer{}, created, "progress", "present created"},
        Case{"... nor of what was done to the one before it", prepared, CreateContainer{}, created,
             "progress", "present created"},
        Case{"a limit that the engine left out is remembered", nothing, CreateContainer{},
             [](const World&) {
                 return Lines{yes("create mayfly-x-1", CreatedContainer{"id", {"no pids limit"}})};
             },
             "progress", "present created warnings"},
        Case{"a name that is taken is no failure: it may be our own", nothing, CreateContainer{},
             not_created(E::conflict), "progress", "name_taken"},
        Case{"a request that the engine refuses is not made again", nothing, CreateContainer{},
             not_created(E::rejected), "progress", "rejected"},
        Case{"an image that is gone is had again", nothing, CreateContainer{},
             not_created(E::not_found), "retry", ""},
        Case{"no answer says nothing", nothing, CreateContainer{}, not_created(E::cut),
             "engine_down", ""}));

std::function<Lines(const World&)> inspected(const std::function<void(ContainerFacts&)>& change) {
    return [change](const World& w) {
        auto facts = w.facts();
        change(facts);
        return Lines{yes("inspect id", facts)};
    };
}
void as_asked(ContainerFacts&) {}

INSTANTIATE_TEST_SUITE_P(
    Inspect, ApplyTable,
    testing::Values(
        Case{"what was asked for and is in force is verified", made, InspectContainer{},
             inspected(as_asked), "progress", "present created facts verified"},
        Case{"... and the inputs that were put stay put",
             [](W w) {
                 w.made();
                 w.evidence().inputs_put = true;
             },
             InspectContainer{}, inspected(as_asked), "progress",
             "present created facts verified inputs"},
        Case{"a limit that is not in force is named", made, InspectContainer{},
             inspected([](ContainerFacts& f) { f.pids_limit = 0; }), "progress",
             "present created facts violations"},
        Case{"a container that an earlier process made is to be made anew",
             [](W w) {
                 w.made();
                 w.evidence().image_id.clear();
             },
             InspectContainer{}, inspected(as_asked), "progress", "present created facts rebuild"},
        Case{"another one of the same name has nothing of what was done to the first", prepared,
             InspectContainer{}, inspected([](ContainerFacts& f) { f.id = "other"; }), "progress",
             "present created other facts rebuild"},
        Case{"somebody else's is not ours, whatever its name",
             [](W w) { w.evidence().name_taken = true; }, InspectContainer{true},
             [](const World& w) {
                 auto facts = w.facts();
                 facts.labels["io.mayfly.instance"] = "another";
                 return Lines{yes("inspect mayfly-x-1", facts)};
             },
             "progress", "absent name_conflict"},
        Case{"gone is gone, and all that was known with it", prepared, InspectContainer{},
             [](const World&) { return Lines{no<ContainerFacts>("inspect id", E::not_found)}; },
             "progress", "absent"},
        Case{"gone when it was to be removed is removed",
             [](W w) {
                 w.made();
                 w.live->record.attempt->stage = Stage::ended;
             },
             InspectContainer{},
             [](const World&) { return Lines{no<ContainerFacts>("inspect id", E::not_found)}; },
             "progress", "absent removed"},
        Case{"a look that failed is still to be taken", prepared, InspectContainer{},
             [](const World&) { return Lines{no<ContainerFacts>("inspect id", E::server)}; },
             "retry", "present created facts verified inputs look"}));

const std::string kOwnClaim = "stat id /work/.mayfly/claim";
constexpr std::int64_t kNewNs = store::kClaimMtimeS * 1'000'000'000;
Line own_claim(std::int64_t size, std::int64_t mtime_ns) {
    PathStat stat;
    stat.size = size;
    stat.mtime_ns = mtime_ns;
    return yes(kOwnClaim, stat);
}

INSTANTIATE_TEST_SUITE_P(
    ReadClaim, ApplyTable,
    testing::Values(Case{"inputs may be put over a claim that nobody took", made, ReadClaim{},
                         [](const World&) { return Lines{own_claim(0, kNewNs)}; }, "progress",
                         "present created safe"},
                    Case{"... and where none ever came", made, ReadClaim{},
                         [](const World&) { return Lines{no<PathStat>(kOwnClaim, E::not_found)}; },
                         "progress", "present created safe"},
                    Case{"... not over one that somebody took", made, ReadClaim{},
                         [](const World&) { return Lines{own_claim(1, kNewNs + 9)}; }, "progress",
                         "present created taken"},
                    Case{"a claim that could not be read is read again", made, ReadClaim{},
                         [](const World&) { return Lines{no<PathStat>(kOwnClaim, E::server)}; },
                         "retry", "present created"}));

std::function<Lines(const World&)> not_put(E kind) {
    return [kind](const World&) { return Lines{no<void>("put id /work 20", kind)}; };
}

INSTANTIATE_TEST_SUITE_P(
    PutInputs, ApplyTable,
    testing::Values(Case{"inputs that were put, and nothing was read back yet", made, PutInputs{},
                         [](const World&) { return Lines{done("put id /work 20")}; }, "progress",
                         "present created inputs"},
                    Case{"what was read back before them does not count: the claim is new",
                         [](W w) {
                             w.prepared();
                             w.evidence().inputs_put = false;
                         },
                         PutInputs{}, [](const World&) { return Lines{done("put id /work 20")}; },
                         "progress", "present created inputs"},
                    Case{"inputs that were refused are not put again without a look", made,
                         PutInputs{}, not_put(E::conflict), "retry", "present created look"},
                    Case{"... nor when the container is gone", made, PutInputs{},
                         not_put(E::not_found), "retry", "present created look"},
                    Case{"a PUT that may come yet leaves a container that is to be made anew",
                         made, PutInputs{}, not_put(E::cut), "engine_down",
                         "present created rebuild look"},
                    Case{"... also when the engine says that it failed", made, PutInputs{},
                         not_put(E::server), "retry", "present created rebuild look"},
                    Case{"stored inputs that cannot be read are our own fault, and said", made,
                         PutInputs{}, not_put(E::local), "progress",
                         "present created inputs_error"},
                    Case{"stored inputs of another size than were accepted are not sent",
                         [](W w) {
                             w.made();
                             w.live->record.run.stored_bytes += 1;
                         },
                         PutInputs{}, [](const World&) { return Lines{}; }, "progress",
                         "present created inputs_error"},
                    Case{"stored inputs that are not there are not sent",
                         [](W w) {
                             w.made();
                             w.live->record.run.id = store::id_of(2);
                         },
                         PutInputs{}, [](const World&) { return Lines{}; }, "progress",
                         "present created inputs_error"}));

std::function<Lines(const World&)> not_started(E kind) {
    return [kind](const World&) { return Lines{no<StartOutcome>("start id", kind)}; };
}
const std::string kPreparedWords = "present created facts verified inputs";

INSTANTIATE_TEST_SUITE_P(
    Start, ApplyTable,
    testing::Values(
        Case{"a start that was accepted runs", prepared, StartContainer{},
             [](const World&) { return Lines{yes("start id", StartOutcome::started)}; },
             "progress", "present running facts verified inputs accepted"},
        Case{"... and so does what ran already", prepared, StartContainer{},
             [](const World&) { return Lines{yes("start id", StartOutcome::already_running)}; },
             "progress", "present running facts verified inputs accepted"},
        Case{"a start that was never sent may be sent", prepared, StartContainer{},
             not_started(E::unreachable), "engine_down", kPreparedWords + " armed"},
        Case{"a container that was gone before has not run", prepared, StartContainer{},
             not_started(E::not_found), "progress", "absent failed start untouched"},
        Case{"a start that was refused is looked at", prepared, StartContainer{},
             not_started(E::rejected), "progress", kPreparedWords + " refused failed start look"},
        Case{"a start that the engine failed may have run it", prepared, StartContainer{},
             not_started(E::server), "retry", kPreparedWords + " unclear failed start look"},
        Case{"a start without an answer may have run it, or may yet", prepared, StartContainer{},
             not_started(E::timeout), "engine_down",
             kPreparedWords + " unclear failed start look"}));

INSTANTIATE_TEST_SUITE_P(
    Stop, ApplyTable,
    testing::Values(
        Case{"TERM is sent once", made, KillContainer{"SIGTERM"},
             [](const World&) { return Lines{yes("kill id SIGTERM", KillOutcome::sent)}; },
             "progress", "present created term"},
        Case{"KILL is the last", made, KillContainer{"SIGKILL"},
             [](const World&) { return Lines{yes("kill id SIGKILL", KillOutcome::sent)}; },
             "progress", "present created term kill"},
        Case{"what did not run any more is looked at", made, KillContainer{"SIGTERM"},
             [](const World&) { return Lines{yes("kill id SIGTERM", KillOutcome::not_running)}; },
             "progress", "present created term look"},
        Case{"a kill without an answer is sent again", made, KillContainer{"SIGTERM"},
             [](const World&) { return Lines{no<KillOutcome>("kill id SIGTERM", E::timeout)}; },
             "engine_down", "present created"}));

// The fence, and the claim behind it.
void fenced(W w) {
    w.live->record.attempt->stage = Stage::start_intent;
    w.live->record.attempt->container_id = "id";
    w.evidence().container = Container::absent;
}
Line own_volume() {
    VolumeFacts volume;
    volume.labels["io.mayfly.nonce"] = kNonce;
    return yes("volume", volume);
}
Line probe_made() { return yes(std::string("create ") + kProbe, CreatedContainer{"p", {}}); }
Line probe_removed() { return yes("remove p", RemoveOutcome::removed); }
const std::string kStat = "stat p /work/.mayfly/claim";
Line claim(std::int64_t size, std::int64_t mtime_ns) {
    PathStat stat;
    stat.size = size;
    stat.mtime_ns = mtime_ns;
    return yes(kStat, stat);
}

INSTANTIATE_TEST_SUITE_P(
    Fence, ApplyTable,
    testing::Values(
        Case{"a container that may have started is removed, and what was known of it", prepared,
             FenceContainer{},
             [](const World&) { return Lines{yes("remove id", RemoveOutcome::removed)}; },
             "progress", "absent"},
        Case{"... also when it was gone", prepared, FenceContainer{},
             [](const World&) { return Lines{yes("remove id", RemoveOutcome::already_gone)}; },
             "progress", "absent"},
        Case{"... and not taken for gone when the engine could not", prepared, FenceContainer{},
             [](const World&) { return Lines{no<RemoveOutcome>("remove id", E::server)}; },
             "retry", kPreparedWords},
        Case{"a claim as it was put has not run", fenced, ProbeClaim{},
             [](const World&) {
                 return Lines{own_volume(), probe_made(), claim(0, kNewNs), probe_removed()};
             },
             "progress", "absent untouched"},
        Case{"a claim with a byte in it has run", fenced, ProbeClaim{},
             [](const World&) {
                 return Lines{own_volume(), probe_made(), claim(1, kNewNs), probe_removed()};
             },
             "progress", "absent taken"},
        Case{"... and so has one that was emptied again", fenced, ProbeClaim{},
             [](const World&) {
                 return Lines{own_volume(), probe_made(), claim(0, kNewNs + 1), probe_removed()};
             },
             "progress", "absent taken"},
        Case{"a volume that is gone cannot be asked", fenced, ProbeClaim{},
             [](const World&) { return Lines{no<VolumeFacts>("volume", E::not_found)}; },
             "progress", "absent volume_gone"},
        Case{"... and one that somebody made in its place is not asked", fenced, ProbeClaim{},
             [](const World&) {
                 VolumeFacts volume;
                 volume.labels["io.mayfly.nonce"] = "another";
                 return Lines{yes("volume", volume)};
             },
             "progress", "absent volume_gone"},
        Case{"a volume without a claim was emptied", fenced, ProbeClaim{},
             [](const World& w) {
                 return Lines{own_volume(), probe_made(), no<PathStat>(kStat, E::not_found),
                              yes("inspect p", w.probe_facts()), probe_removed()};
             },
             "progress", "absent volume_gone"},
        Case{"a probe that was swept while it was asked says nothing of the claim", fenced,
             ProbeClaim{},
             [](const World&) {
                 return Lines{own_volume(), probe_made(), no<PathStat>(kStat, E::not_found),
                              no<ContainerFacts>("inspect p", E::not_found)};
             },
             "retry", "absent"},
        Case{"a claim that could not be read is not guessed", fenced, ProbeClaim{},
             [](const World&) {
                 return Lines{own_volume(), probe_made(), no<PathStat>(kStat, E::server),
                              probe_removed()};
             },
             "retry", "absent"},
        Case{"a probe that a crash left is used", fenced, ProbeClaim{},
             [](const World& w) {
                 return Lines{own_volume(),
                              no<CreatedContainer>(std::string("create ") + kProbe, E::conflict),
                              yes(std::string("inspect ") + kProbe, w.probe_facts()),
                              claim(0, kNewNs), probe_removed()};
             },
             "progress", "absent untouched"},
        Case{"a container of that name that is not ours is neither used nor touched", fenced,
             ProbeClaim{},
             [](const World& w) {
                 auto theirs = w.probe_facts();
                 theirs.labels.clear();
                 return Lines{own_volume(),
                              no<CreatedContainer>(std::string("create ") + kProbe, E::conflict),
                              yes(std::string("inspect ") + kProbe, theirs)};
             },
             "retry", "absent"}));

Line volume_in_use() { return no<RemoveOutcome>("remove volume", E::conflict); }

INSTANTIATE_TEST_SUITE_P(
    Collect, ApplyTable,
    testing::Values(
        Case{"a container that was removed", made, RemoveContainer{},
             [](const World&) { return Lines{yes("remove id", RemoveOutcome::removed)}; },
             "progress", "absent created removed"},
        Case{"... or not yet", made, RemoveContainer{},
             [](const World&) { return Lines{no<RemoveOutcome>("remove id", E::conflict)}; },
             "retry", "present created"},
        Case{"a volume that was removed", nothing, RemoveVolume{},
             [](const World&) { return Lines{yes("remove volume", RemoveOutcome::removed)}; },
             "progress", "volume removed"},
        Case{"a volume that a probe of ours holds is free after it", nothing, RemoveVolume{},
             [](const World& w) {
                 return Lines{volume_in_use(),
                              yes(std::string("inspect ") + kProbe, w.probe_facts()),
                              probe_removed()};
             },
             "retry", "name_taken"},
        Case{"a volume that somebody else's container holds waits, and it is not touched", nothing,
             RemoveVolume{},
             [](const World& w) {
                 auto theirs = w.probe_facts();
                 theirs.labels.clear();
                 return Lines{volume_in_use(), yes(std::string("inspect ") + kProbe, theirs)};
             },
             "retry", "name_taken"}));

}  // namespace
}  // namespace mayfly::controller
