// One invocation of `mayfly`: its options, the way to mayflyd, and our own ends of it. What the
// commands share: asking, showing what went wrong, and trying again a mayflyd that is gone.
#pragma once

#include <cstdint>
#include <expected>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "api/cli/http.h"
#include "api/cli/options.h"
#include "api/cli/terminal.h"
#include "api/cli/view.h"

namespace mayfly::api::cli {

class Session {
public:
    Session(const Options& options, Address address, bool colours);

    [[nodiscard]] const Options& options() const { return options_; }
    [[nodiscard]] const Address& address() const { return address_; }
    [[nodiscard]] Voice& voice() { return voice_; }
    // How things look on stdout, and on stderr.
    [[nodiscard]] Look look() const;
    [[nodiscard]] Look stderr_look() const;
    [[nodiscard]] bool stdout_terminal() const { return stdout_terminal_; }

    void out(std::string_view bytes);
    // A JSON text and a line feed; on a terminal without raw control characters in it.
    void out_json(std::string_view text);

    // A success's answer; what else came was told on stderr, and is the exit code.
    // `run_id`: the one that it is about, for the advice.
    [[nodiscard]] std::expected<HttpAnswer, int> ask(const std::string& method,
                                                     const std::string& target,
                                                     std::string_view run_id = {});
    // Tells what went wrong; returns the exit code.
    int fail(const HttpError& error);
    int fail(const HttpAnswer& answer, std::string_view run_id = {});

    // The run that an argument means: an id, or the beginning or the end of exactly one of those
    // that were recorded last. Else the exit code; it was told.
    [[nodiscard]] std::expected<std::string, int> run_id(const std::string& text);

private:
    const Options& options_;
    Address address_;
    bool colours_;
    bool stdout_terminal_;
    Voice voice_;
};

// Keeps trying for --contact-s while mayflyd is gone, and tells when it goes and comes.
class Patience {
public:
    explicit Patience(Session& session, Wake& wake) : session_(session), wake_(wake) {}

    // An answer came.
    void made();
    // Waits before the next try. False: the time is over, or the Wake said stop.
    [[nodiscard]] bool again(std::string_view why);

private:
    Session& session_;
    Wake& wake_;
    std::int64_t gone_since_ms_ = 0;  // steady; 0 = it is there
    std::int64_t made_ms_ = 0;
    std::int64_t pause_ms_ = 0;
    bool told_ = false;
};

// Whether asking the same again can help: lost contact, or a mayflyd that is not ready.
[[nodiscard]] bool passing(const std::expected<HttpAnswer, HttpError>& answer);
// Why it did not work, in a few words.
[[nodiscard]] std::string why_not(const std::expected<HttpAnswer, HttpError>& answer);

// "?a=1&b=2" from pairs, percent-encoded; "" for none.
class QueryText {
public:
    QueryText& add(std::string_view name, std::string_view value);
    [[nodiscard]] const std::string& text() const { return text_; }

private:
    std::string text_;
};

// ---- the commands; each returns the exit code

int run_command(Session& session);
int ps_command(Session& session);
int get_command(Session& session);
int logs_command(Session& session);
int cancel_command(Session& session);
int rm_command(Session& session);
int artifacts_ls_command(Session& session);
int artifacts_get_command(Session& session);
int events_command(Session& session);
int explain_command(Session& session);
int top_command(Session& session);
int doctor_command(Session& session);

// Saves artifacts of a finished run into `folder`; `only` empty = all. Returns the exit code.
int save_artifacts(Session& session, Wake& wake, const std::string& run_id,
                   const std::string& folder, const std::vector<std::string>& only);

}  // namespace mayfly::api::cli
