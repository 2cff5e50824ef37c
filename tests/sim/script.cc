#include "tests/sim/script.h"

#include <fmt/format.h>

#include <charconv>

#include "tests/sim/world.h"

namespace mayfly::sim {
namespace {

struct Field {
    const char* name;
    std::int64_t Script::* value;
};
constexpr Field kFields[] = {
    {"duration_ms", &Script::duration_ms},
    {"exit_code", &Script::exit_code},
    {"signal", &Script::signal},
    {"exec_errno", &Script::exec_errno},
    {"seed", &Script::seed},
    {"files", &Script::files},
    {"file_bytes", &Script::file_bytes},
    {"out_bytes", &Script::out_bytes},
    {"err_bytes", &Script::err_bytes},
};

struct Flag {
    const char* name;
    bool Script::* value;
};
constexpr Flag kFlags[] = {
    {"writes_result", &Script::writes_result}, {"traps_term", &Script::traps_term},
    {"ignores_term", &Script::ignores_term},   {"out_of_memory", &Script::out_of_memory},
    {"fills_work", &Script::fills_work},
};

std::string filler(std::uint64_t seed, std::int64_t size) {
    Rng rng(seed);
    std::string text(static_cast<std::size_t>(size), '\0');
    for (auto& c : text) c = static_cast<char>('a' + rng.below(26));
    return text;
}

}  // namespace

std::vector<std::string> argv_of(const Script& script) {
    const Script plain;
    std::vector<std::string> argv{"sim"};
    for (const auto& field : kFields) {
        if (script.*field.value == plain.*field.value) continue;
        argv.push_back(fmt::format("{}={}", field.name, script.*field.value));
    }
    for (const auto& flag : kFlags) {
        if (script.*flag.value) argv.emplace_back(flag.name);
    }
    return argv;
}

Script script_of(const std::vector<std::string>& argv) {
    Script script;
    for (const auto& word : argv) {
        const auto equals = word.find('=');
        for (const auto& flag : kFlags) {
            if (word == flag.name) script.*flag.value = true;
        }
        if (equals == std::string::npos) continue;
        for (const auto& field : kFields) {
            if (word.substr(0, equals) != field.name) continue;
            std::from_chars(word.data() + equals + 1, word.data() + word.size(),
                            script.*field.value);
        }
    }
    return script;
}

std::map<std::string, std::string> artifacts_of(const Script& script) {
    std::map<std::string, std::string> files;
    if (script.exec_errno != 0) return files;
    for (std::int64_t i = 0; i < script.files; ++i) {
        const auto seed = static_cast<std::uint64_t>(script.seed * 1'000 + i);
        const auto name = i % 2 == 0 ? fmt::format("file-{}", i) : fmt::format("sub/file-{}", i);
        files[name] = filler(seed, script.file_bytes + i);
    }
    return files;
}

std::string stdout_of(const Script& script) {
    return filler(static_cast<std::uint64_t>(script.seed) + 7'000'000, script.out_bytes);
}

std::string stderr_of(const Script& script) {
    return filler(static_cast<std::uint64_t>(script.seed) + 8'000'000, script.err_bytes);
}

std::string result_of(const Script& script) {
    return script.writes_result ? fmt::format("{{\"seed\":{}}}", script.seed) : std::string();
}

}  // namespace mayfly::sim
