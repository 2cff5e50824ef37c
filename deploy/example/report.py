"""What a user's script may look like: reads an input file, prints how far it is, leaves a report.

It knows nothing of Mayfly. Its inputs are beside it; what it leaves under output/ are its
artifacts, and result.json comes back with the run.
"""

import collections
import csv
import json
import os
import statistics
import time

started = time.monotonic()
by_station = collections.defaultdict(list)
rows = 0

with open("input/measurements.csv", newline="", encoding="utf-8") as file:
    for row in csv.DictReader(file):
        by_station[row["station"]].append(float(row["celsius"]))
        rows += 1
        if rows % 1000 == 0:
            print(f"read {rows} rows", flush=True)

os.makedirs("output", exist_ok=True)
with open("output/report.md", "w", encoding="utf-8") as report:
    report.write("# Temperatures by station\n\n")
    report.write("| station | rows | mean | lowest | highest |\n|---|---:|---:|---:|---:|\n")
    for station, values in sorted(by_station.items()):
        report.write(f"| {station} | {len(values)} | {statistics.mean(values):.2f} "
                     f"| {min(values):.1f} | {max(values):.1f} |\n")
    print(f"wrote a report on {len(by_station)} stations", flush=True)

with open("output/stations.txt", "w", encoding="utf-8") as stations:
    stations.write("\n".join(sorted(by_station)) + "\n")

warmest = max(by_station, key=lambda station: statistics.mean(by_station[station]))
with open("result.json", "w", encoding="utf-8") as result:
    json.dump({"rows": rows, "stations": len(by_station), "warmest": warmest,
               "seconds": round(time.monotonic() - started, 3)}, result)
