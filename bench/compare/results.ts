/** What a run found out: plain data, as it is written to JSON. */
import { median, medianRatio } from "./statistics.ts";

/** One load of one peer in one round. */
export interface Sample {
  readonly requestsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** CPU time of the server for each request, in microseconds. */
  readonly cpuUs: number;
  /** Share of its core that the server used; well below 1 the generator was the limit. */
  readonly busy: number;
  /** Share of the server's core that went to neither the server nor idling: other work, and interrupts. */
  readonly foreign: number;
}

/** A peer in a cell. */
export interface CellResult {
  readonly cell: string;
  readonly peer: string;
  readonly samples: readonly Sample[];
  /** Why the figures do not count; null when they do. */
  readonly void: string | null;
}

/** A measurement that is not a load: named figures of a peer. */
export interface Measure {
  readonly measure: string;
  readonly peer: string;
  /** By name with its unit; a text where there is no number. */
  readonly figures: Readonly<Record<string, number | string>>;
  readonly void: string | null;
}

/** A whole run. */
export interface Results {
  readonly startedAt: string;
  readonly command: string;
  readonly machine: Readonly<Record<string, string>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly tuning: Readonly<Record<string, string>>;
  readonly rounds: number;
  readonly seconds: number;
  readonly cells: readonly { readonly id: string; readonly group: string; readonly title: string }[];
  readonly peers: readonly string[];
  /** Peers that serve without a cache: in the tables, but not to be beaten. */
  readonly ceilings: readonly string[];
  readonly cellResults: readonly CellResult[];
  readonly measures: readonly Measure[];
}

/** The row that ratios are of. */
export const OURS = "proxima";

/** Medians of a peer's samples; null when the cell is void or was not run. */
export function medians(result: CellResult | undefined): Sample | null {
  if (result === undefined || result.void !== null || result.samples.length === 0) return null;
  const of = (pick: (sample: Sample) => number): number => median(result.samples.map(pick));
  return {
    requestsPerSecond: of((sample) => sample.requestsPerSecond),
    p50Us: of((sample) => sample.p50Us),
    p99Us: of((sample) => sample.p99Us),
    cpuUs: of((sample) => sample.cpuUs),
    busy: of((sample) => sample.busy),
    foreign: of((sample) => sample.foreign),
  };
}

/** A peer in a cell of a run. */
export function resultOf(results: Results, cell: string, peer: string): CellResult | undefined {
  return results.cellResults.find((one) => one.cell === cell && one.peer === peer);
}

/** How many times a peer's rate `peer` is that of `other`, round by round; null when one of them does not count. */
export function rateRatio(results: Results, cell: string, peer: string, other: string): number | null {
  const ours = resultOf(results, cell, peer);
  const theirs = resultOf(results, cell, other);
  if (medians(ours) === null || medians(theirs) === null) return null;
  const rates = (result: CellResult | undefined): number[] =>
    (result?.samples ?? []).map((sample) => sample.requestsPerSecond);
  return medianRatio(rates(ours), rates(theirs));
}

/** How many times the CPU of `peer` for a request `other` needs, round by round; null when one of them does not count. */
export function cpuRatio(results: Results, cell: string, peer: string, other: string): number | null {
  const ours = resultOf(results, cell, peer);
  const theirs = resultOf(results, cell, other);
  if (medians(ours) === null || medians(theirs) === null) return null;
  const times = (result: CellResult | undefined): number[] =>
    (result?.samples ?? []).map(({ cpuUs }) => cpuUs);
  return medianRatio(times(theirs), times(ours));
}

/** More than this of a core for others, and the sample's rate says little. Interrupts alone stay below. */
const FOREIGN_MAX = 0.15;

/** How many samples others disturbed, and of how many. */
export function disturbed(results: Results): { readonly samples: number; readonly of: number } {
  const all = results.cellResults.flatMap(({ samples }) => samples);
  return { samples: all.filter(({ foreign }) => foreign > FOREIGN_MAX).length, of: all.length };
}

/** The figure of a peer in a measure; null when there is none. */
export function figureOf(results: Results, measure: string, peer: string, figure: string): number | null {
  const found = results.measures.find((one) => one.measure === measure && one.peer === peer);
  const value = found === undefined || found.void !== null ? undefined : found.figures[figure];
  return typeof value === "number" ? value : null;
}
