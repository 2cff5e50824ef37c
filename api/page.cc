// The status page and its files, as the browser gets them.
#include "api/assets.h"
#include "api/byte_range.h"
#include "api/codec.h"
#include "api/service.h"

namespace mayfly::api {
namespace {

// The page is served from the API's own origin, so what it may do is narrow: no script, style or
// picture that is not a file of ours, and no frame around it. The files get it too: an SVG that is
// opened by itself is a page.
constexpr std::string_view kPagePolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

Response asset_response(const Request& request, const Asset& asset) {
    Response response;
    // Asked for anew each time, so that a new version of the program never meets old files.
    response.with("ETag", std::string(asset.etag)).with("Cache-Control", "no-cache");
    response.with("Content-Security-Policy", std::string(kPagePolicy))
        .with("Referrer-Policy", "no-referrer");
    if (none_match_hits(request.header("if-none-match"), asset.etag)) {
        response.status = 304;
        return response;
    }
    response.with("Content-Type", std::string(asset.content_type));
    response.body = asset.bytes;
    return response;
}

}  // namespace

Service::Reply Service::asset(const Request& request, std::string_view name) const {
    if (const Asset* found = find_asset(name)) return asset_response(request, *found);
    return refuse(ProblemType::not_found,
                  "The status page has no file of this name. GET / with `Accept: text/html` is "
                  "the page.");
}

// A program that asks for JSON first gets JSON, a browser the page, and everybody else (curl, say)
// a text for people.
Service::Reply Service::welcome(const Request& request) const {
    const std::string_view accept = request.header("accept").value_or("");
    if (accept.starts_with("application/json")) {
        Response facts = json_response(200, welcome_json());
        facts.with("Vary", "Accept");
        return facts;
    }
    if (accept.find("text/html") != accept.npos) {
        auto page = asset(request, kPageName);
        if (page) page->with("Vary", "Accept");
        return page;
    }
    const std::string host(request.header("host").value_or("localhost"));
    Response response;
    response.with("Content-Type", "text/plain; charset=utf-8").with("Cache-Control", "no-store");
    response.with("Vary", "Accept");
    response.body = welcome_text("http://" + host);
    return response;
}

}  // namespace mayfly::api
