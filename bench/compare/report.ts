/** Results as Markdown. */
import { cpuRatio, disturbed, medians, OURS, type Results, rateRatio, resultOf } from "./results.ts";
import { type Outcome, outcomes } from "./targets.ts";

/** The whole report. */
export function markdown(results: Results): string {
  const parts = [
    "# Comparison",
    "",
    `\`${results.command}\`, ${results.startedAt}. ${results.rounds} interleaved rounds of ${results.seconds} s for each cell, medians. One core for the server, another for the generator and the origin. Compare within a run only.`,
    "",
    ...Object.entries(results.machine).map(([name, value]) => `- ${name}: ${value}`),
    `- versions: ${Object.entries(results.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(", ")}`,
    ...Object.entries(results.tuning).map(([name, tuning]) => `- ${name}: ${tuning}`),
    "",
  ];
  const noise = disturbed(results);
  if (noise.samples > 0) {
    parts.push(
      `**In ${noise.samples} of ${noise.of} samples other work had more than 15 % of the server's core.** Rates then say less than CPU does.`,
      "",
    );
  }
  for (const group of [...new Set(results.cells.map((cell) => cell.group))]) {
    const cells = results.cells.filter((cell) => cell.group === group);
    parts.push(
      `## ${group[0]?.toUpperCase()}${group.slice(1)}: requests a second (p50 / p99 us; CPU us a request)`,
      "",
    );
    parts.push(
      ...table(
        ["", ...results.peers],
        cells.map((cell) => [cell.title, ...results.peers.map((peer) => figures(results, cell.id, peer))]),
      ),
      "",
    );
    parts.push(
      `Rate of ${OURS} by that of the others (median of the rounds' ratios), and what they need of CPU by what it needs:`,
      "",
    );
    const others = results.peers.filter((peer) => peer !== OURS);
    parts.push(
      ...table(
        ["", ...others],
        cells.map((cell) => [cell.title, ...others.map((peer) => ratios(results, cell.id, peer))]),
      ),
      "",
    );
  }
  const voids = results.cellResults.filter((one) => one.void !== null);
  if (voids.length > 0) {
    parts.push("## Void", "");
    parts.push(...voids.map((one) => `- ${one.cell}, ${one.peer}: ${one.void}`), "");
  }
  for (const measure of [...new Set(results.measures.map((one) => one.measure))]) {
    const rows = results.measures.filter((one) => one.measure === measure);
    const names = [...new Set(rows.flatMap((row) => Object.keys(row.figures)))];
    parts.push(`## ${measure[0]?.toUpperCase()}${measure.slice(1)}`, "");
    const cells = rows.map((row) =>
      row.void === null
        ? [row.peer, ...names.map((name) => show(row.figures[name]))]
        : [row.peer, `void: ${row.void}`, ...names.slice(1).map(() => "")],
    );
    parts.push(...table(["", ...names], cells), "");
  }
  const targets = outcomes(results);
  if (targets.length > 0) {
    parts.push(
      "## Targets",
      "",
      ...table(["", "wanted", "measured", "by CPU", ""], targets.map(targetRow)),
      "",
    );
  }
  return parts.join("\n");
}

function targetRow({ text, wanted, measured, met, byCpu }: Outcome): string[] {
  return [
    text,
    wanted,
    show(measured ?? undefined),
    show(byCpu ?? undefined),
    met === null ? "not measured" : met ? "met" : "**missed**",
  ];
}

function figures(results: Results, cell: string, peer: string): string {
  const result = resultOf(results, cell, peer);
  if (result === undefined) return "-";
  const middle = medians(result);
  if (middle === null) return "void";
  const { requestsPerSecond, p50Us, p99Us, cpuUs, busy } = middle;
  const idle = busy < BUSY_SHARE ? ` ${Math.round(busy * 100)} %` : "";
  return `${show(requestsPerSecond)} (${show(p50Us)} / ${show(p99Us)}; ${show(cpuUs)}${idle})`;
}

/** Below this share of its core a server was not the limit, and the table says so. */
const BUSY_SHARE = 0.9;

function ratios(results: Results, cell: string, peer: string): string {
  const ratio = rateRatio(results, cell, OURS, peer);
  if (ratio === null) return "-";
  return `${ratio.toFixed(2)} (CPU ${cpuRatio(results, cell, OURS, peer)?.toFixed(2) ?? "-"})`;
}

/** Three digits that count; whole numbers from 100 on. */
export function show(value: number | string | undefined): string {
  if (value === undefined || (typeof value === "number" && Number.isNaN(value))) return "-";
  if (typeof value === "string") return value;
  if (Math.abs(value) >= 10_000) return `${(value / 1000).toFixed(1)} k`;
  if (Math.abs(value) >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return value.toFixed(value >= 10 ? 1 : 2);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), `|${"---|".repeat(head.length)}`, ...rows.map(line)];
}
