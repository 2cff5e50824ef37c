#include "metrics/process.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mayfly::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

std::string read_text(const char* path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::optional<double> to_number(std::string_view word) {
    double value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc{} || end == word.data()) {
        return std::nullopt;
    }
    return value;
}

// The n-th (from 0) of the words that blanks separate.
std::string_view word_at(std::string_view text, std::size_t n) {
    for (;; --n) {
        const std::size_t begin = text.find_first_not_of(" \t\n");
        if (begin == std::string_view::npos) {
            return {};
        }
        text.remove_prefix(begin);
        const std::size_t end = std::min(text.find_first_of(" \t\n"), text.size());
        if (n == 0) {
            return text.substr(0, end);
        }
        text.remove_prefix(end);
    }
}

// The text after the line's key: "btime " of /proc/stat, "Max open files" of /proc/self/limits.
std::string_view after_key(std::string_view text, std::string_view key) {
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        if (line.starts_with(key)) {
            return line.substr(key.size());
        }
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return {};
}

void add(std::vector<MetricFamily>& out, MetricType type, std::string name, std::string help,
         std::optional<double> value) {
    if (!value) {
        return;
    }
    ClientMetric metric;
    if (type == MetricType::Counter) {
        metric.counter.value = *value;
    } else {
        metric.gauge.value = *value;
    }
    MetricFamily family;
    family.name = std::move(name);
    family.help = std::move(help);
    family.type = type;
    family.metric.push_back(std::move(metric));
    out.push_back(std::move(family));
}

std::optional<double> count_open_fds() {
    std::error_code error;
    std::filesystem::directory_iterator it("/proc/self/fd", error);
    if (error) {
        return std::nullopt;
    }
    double count = -1;  // the iterator's own
    for (; it != std::filesystem::directory_iterator(); it.increment(error)) {
        if (error) {
            return std::nullopt;
        }
        ++count;
    }
    return count;
}

}  // namespace

std::vector<MetricFamily> collect_process() {
    std::vector<MetricFamily> out;
    const std::string stat = read_text("/proc/self/stat");
    // The second field is the program's name in parentheses and may hold anything: count from the
    // last one.
    const std::size_t name_end = stat.rfind(')');
    if (name_end != std::string::npos) {
        const std::string_view rest = std::string_view(stat).substr(name_end + 1);
        const auto field = [&](std::size_t number) {
            return to_number(word_at(rest, number - 3));
        };
        const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
        const auto page_bytes = static_cast<double>(::sysconf(_SC_PAGESIZE));
        const auto user = field(14);
        const auto system = field(15);
        if (user && system) {
            add(out, MetricType::Counter, "process_cpu_seconds_total",
                "User and system CPU time spent.", (*user + *system) / ticks);
        }
        add(out, MetricType::Gauge, "process_threads", "Threads of this process.", field(20));
        add(out, MetricType::Gauge, "process_virtual_memory_bytes", "Virtual memory size.",
            field(23));
        if (const auto resident = field(24)) {
            add(out, MetricType::Gauge, "process_resident_memory_bytes", "Resident memory size.",
                *resident * page_bytes);
        }
        const std::string boot = read_text("/proc/stat");
        const auto boot_s = to_number(word_at(after_key(boot, "btime "), 0));
        const auto start = field(22);
        if (boot_s && start) {
            add(out, MetricType::Gauge, "process_start_time_seconds",
                "When this process started, since the Unix epoch.", *boot_s + *start / ticks);
        }
    }
    add(out, MetricType::Gauge, "process_open_fds", "Open file descriptors.", count_open_fds());
    const std::string limits = read_text("/proc/self/limits");
    add(out, MetricType::Gauge, "process_max_fds", "File descriptors that may be open.",
        to_number(word_at(after_key(limits, "Max open files"), 0)));
    return out;
}

}  // namespace mayfly::metrics
