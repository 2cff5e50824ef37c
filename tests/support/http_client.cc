#include "tests/support/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace mayfly::test {
namespace {

// Longer than every deadline that a test waits for: a hang becomes a failure.
constexpr int kReadTimeoutS = 30;

bool same_name(std::string_view a, std::string_view b) {
    return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

std::string HttpAnswer::header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
        if (same_name(key, name)) return value;
    }
    return {};
}

bool HttpAnswer::has(std::string_view name) const {
    for (const auto& [key, value] : headers) {
        if (same_name(key, name)) return true;
    }
    return false;
}

HttpClient HttpClient::tcp(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval timeout{kReadTimeoutS, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    const int now = 1;  // a head and its body are two sends
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        ::close(fd);
        return HttpClient(-1);
    }
    return HttpClient(fd);
}

HttpClient HttpClient::unix_socket(const std::string& path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    const timeval timeout{kReadTimeoutS, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        ::close(fd);
        return HttpClient(-1);
    }
    return HttpClient(fd);
}

HttpClient::~HttpClient() { close(); }

HttpClient::HttpClient(HttpClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      buffer_(std::move(other.buffer_)),
      recording_(std::move(other.recording_)) {}

void HttpClient::close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void HttpClient::abort() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
}

void HttpClient::shutdown_send() const { ::shutdown(fd_, SHUT_WR); }

bool HttpClient::send(std::string_view bytes) const {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        if (recording_) recording_->sent(bytes.substr(0, static_cast<std::size_t>(sent)));
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

bool HttpClient::fill() {
    char piece[64 << 10];
    const ssize_t got = ::recv(fd_, piece, sizeof piece, 0);
    if (got <= 0) return false;
    buffer_.append(piece, static_cast<std::size_t>(got));
    if (recording_) recording_->received({piece, static_cast<std::size_t>(got)});
    return true;
}

HttpAnswer HttpClient::read(bool head_only) {
    std::size_t end = buffer_.find("\r\n\r\n");
    while (end == std::string::npos) {
        if (!fill()) return {};
        end = buffer_.find("\r\n\r\n");
    }
    HttpAnswer answer;
    std::string_view head = std::string_view(buffer_).substr(0, end + 2);
    if (!head.starts_with("HTTP/1.1 ")) return {};
    answer.status = std::atoi(std::string(head.substr(9, 3)).c_str());
    head.remove_prefix(head.find("\r\n") + 2);
    while (!head.empty()) {
        const std::string_view line = head.substr(0, head.find("\r\n"));
        head.remove_prefix(line.size() + 2);
        const std::size_t colon = line.find(": ");
        if (colon == line.npos) continue;
        answer.headers.emplace_back(line.substr(0, colon), line.substr(colon + 2));
    }
    buffer_.erase(0, end + 4);
    if (head_only || answer.status < 200 || !answer.has("Content-Length")) return answer;
    const auto length = std::strtoull(answer.header("Content-Length").c_str(), nullptr, 10);
    while (buffer_.size() < length) {
        if (!fill()) return {};
    }
    answer.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
    return answer;
}

HttpAnswer HttpClient::ask(const std::string& method, const std::string& target,
                           const Headers& headers, std::string_view body) {
    HttpAnswer given;
    given.headers = headers;
    std::string head = method + " " + target + " HTTP/1.1\r\n";
    if (!given.has("Host")) head += "Host: localhost\r\n";
    for (const auto& [name, value] : headers) head += name + ": " + value + "\r\n";
    const bool framed = given.has("Content-Length") || given.has("Transfer-Encoding");
    if (!body.empty() && !framed) {
        head += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    }
    send(head + "\r\n");
    send(body);
    return read(method == "HEAD");
}

HttpAnswer HttpClient::begin(const std::string& target, const Headers& headers) {
    std::string head = "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n";
    for (const auto& [name, value] : headers) head += name + ": " + value + "\r\n";
    if (!send(head + "\r\n")) return {};
    HttpAnswer answer = read(true);
    last_chunk_ = answer.header("Transfer-Encoding") != "chunked";
    body_.clear();
    if (last_chunk_) {
        const auto length =
            static_cast<std::size_t>(std::atoll(("0" + answer.header("Content-Length")).c_str()));
        while (buffer_.size() < length && fill()) {
        }
        answer.body = buffer_.substr(0, length);
        buffer_.erase(0, length);
    }
    return answer;
}

// One chunk more.
bool HttpClient::fill_body() {
    if (last_chunk_) return false;
    std::size_t line = buffer_.find("\r\n");
    while (line == std::string::npos) {
        if (!fill()) return false;
        line = buffer_.find("\r\n");
    }
    const auto size = static_cast<std::size_t>(std::strtoull(buffer_.c_str(), nullptr, 16));
    while (buffer_.size() < line + 2 + size + 2) {
        if (!fill()) return false;
    }
    body_ += buffer_.substr(line + 2, size);
    buffer_.erase(0, line + 2 + size + 2);
    last_chunk_ = size == 0;
    return !last_chunk_;
}

std::string HttpClient::read_until(std::string_view needle) {
    std::size_t at = body_.find(needle);
    while (at == std::string::npos && fill_body()) at = body_.find(needle);
    const std::size_t end = at == std::string::npos ? body_.size() : at + needle.size();
    std::string out = body_.substr(0, end);
    body_.erase(0, end);
    return out;
}

std::string HttpClient::read_rest(bool& whole) {
    while (fill_body()) {
    }
    whole = last_chunk_;
    return std::exchange(body_, {});
}

std::string HttpClient::read_to_end() {
    while (fill()) {
    }
    return std::exchange(buffer_, {});
}

}  // namespace mayfly::test
