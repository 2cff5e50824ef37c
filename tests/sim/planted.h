// Faults that are planted on purpose, to test the tester. Only the program mayfly-sim-mutants has
// any: its sources are made from the product's by mutants.py, at build time.
#pragma once

#include <string>
#include <string_view>

namespace mayfly::sim {

inline std::string planted_name;
inline bool planted(std::string_view name) { return planted_name == name; }

}  // namespace mayfly::sim

#define PLANTED(name) (::mayfly::sim::planted(#name))
