# Writes a C++ file with the bytes of the files of the status page, for api/assets.h:
#   cmake -DFOLDER=api/ui -DFILES=app.css|index.html -DOUT=embedded_ui.cc -P embed.cmake
# A source and not an assembler's .incbin: that says nothing about dependencies.
string(REPLACE "|" ";" FILES "${FILES}")
list(SORT FILES)
set(arrays "")
set(entries "")
set(index 0)
foreach(name IN LISTS FILES)
  if(name MATCHES "\\.html$")
    set(type "text/html; charset=utf-8")
  elseif(name MATCHES "\\.css$")
    set(type "text/css; charset=utf-8")
  elseif(name MATCHES "\\.js$")
    set(type "text/javascript; charset=utf-8")
  elseif(name MATCHES "\\.svg$")
    set(type "image/svg+xml")
  else()
    message(FATAL_ERROR "embed.cmake: no content type is known for ${name}")
  endif()
  file(READ "${FOLDER}/${name}" bytes HEX)
  file(SHA256 "${FOLDER}/${name}" sha256)
  string(SUBSTRING "${sha256}" 0 32 tag)
  string(LENGTH "${bytes}" digits)
  math(EXPR size "${digits} / 2")
  string(REGEX REPLACE "(..)" "\\\\x\\1" text "${bytes}")
  string(APPEND arrays "constexpr char kBytes${index}[] =\n    \"${text}\";\n")
  string(APPEND entries
         "    Asset{\"${name}\", \"${type}\", {kBytes${index}, ${size}}, \"\\\"${tag}\\\"\"},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE "${OUT}" "// Made by api/ui/embed.cmake. What is changed here is lost at the next build.
#include <array>

#include \"api/assets.h\"

namespace mayfly::api {
namespace {

${arrays}
constexpr std::array kAssets = {
${entries}};

}  // namespace

std::span<const Asset> all_assets() { return kAssets; }

}  // namespace mayfly::api
")
