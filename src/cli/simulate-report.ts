/** The report of `proxima simulate` as tables for a person. */
import { formatSize } from "../config/size.ts";
import { styleFor } from "./io.ts";
import type { SimulatedRow, SimulateReport } from "./simulate.ts";

const NO_LIMIT = "no limit";

/** Totals, the table by policy, the table by key. */
export function formatReport(report: SimulateReport, color: boolean): string {
  const style = styleFor(color);
  const { log } = report;
  const count = (number: number) => number.toLocaleString("en");
  const facts = [
    `${count(log.requests)} requests that a cache is asked for, ${percent(report.cacheableShare)} of ${count(log.requests + log.uncacheable)}`,
    `${count(report.objects)} objects, footprint ${formatSize(report.footprintBytes)}, answers ${formatSize(report.answerBytes)} (key: ${report.key})`,
  ];
  const lost = [
    log.malformed > 0 ? `${count(log.malformed)} that are no access log` : "",
    log.tooLong > 0 ? `${count(log.tooLong)} that are too long` : "",
  ].filter(Boolean);
  if (lost.length > 0) facts.push(`left out of ${count(log.lines)} lines: ${lost.join(", ")}`);
  if (log.dropped > 0)
    facts.push(`the log lacks ${count(log.dropped)} requests that were dropped when it was written`);
  if (log.cut) facts.push("the log is longer than what can be simulated: only its beginning was read");
  return [
    ...facts.map((fact) => `  ${fact}`),
    "",
    style.bold(`Misses by policy (key: ${report.key}): of requests, and of bytes`),
    ...table("policy", report.policies).map((line) => `  ${line}`),
    "",
    style.bold(`Misses by key (policy: ${report.keyPolicy})`),
    ...table("key", report.keys).map((line) => `  ${line}`),
    "",
    "",
  ].join("\n");
}

function table(title: string, rows: readonly SimulatedRow[]): string[] {
  const sizes =
    rows[0]?.caches.map(({ cache, cacheBytes }) =>
      cache.endsWith("%") ? `${cache} (${formatSize(cacheBytes)})` : cache,
    ) ?? [];
  const cells = [
    [title, "objects", "footprint", ...sizes, NO_LIMIT],
    ...rows.map(({ name, objects, footprintBytes, caches, unlimited }) => [
      name,
      objects.toLocaleString("en"),
      formatSize(footprintBytes),
      ...[...caches, unlimited].map(
        ({ objectMissRatio, byteMissRatio }) => `${percent(objectMissRatio)} / ${percent(byteMissRatio)}`,
      ),
    ]),
  ];
  const widths =
    cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? [];
  return cells.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  "),
  );
}

function percent(ratio: number): string {
  return `${(ratio * 100).toFixed(1)}%`;
}
