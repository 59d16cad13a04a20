/** The baseline: ratios of an earlier run, never times, and what fell below them. */
import { cpuRatio, disturbed, OURS, type Results, rateRatio } from "./results.ts";

/** A ratio may fall by this share before it is warned of. */
export const FALL_MAX = 0.15;

/** Ratios by name, higher is better. */
export type Ratios = Readonly<Record<string, number>>;

/** A ratio that fell. */
export interface Fall {
  readonly name: string;
  readonly was: number;
  readonly is: number;
}

/** Of a run in which other work disturbed more than this share of the samples, only CPU is compared. */
const DISTURBED_MAX = 0.25;

/** The rate of Proxima by that of each peer, and each peer's CPU for a request by Proxima's, for every cell that counts. */
export function ratiosOf(results: Results): Ratios {
  const ratios: Record<string, number> = {};
  const noise = disturbed(results);
  const quiet = noise.samples <= noise.of * DISTURBED_MAX;
  for (const { id } of results.cells) {
    for (const peer of results.peers) {
      if (peer.startsWith(OURS) || results.ceilings.includes(peer)) continue;
      const found = {
        rate: quiet ? rateRatio(results, id, OURS, peer) : null,
        CPU: cpuRatio(results, id, OURS, peer),
      };
      for (const [kind, ratio] of Object.entries(found)) {
        if (ratio !== null) ratios[`${kind}: ${id} / ${peer}`] = Math.round(ratio * 1000) / 1000;
      }
    }
  }
  return ratios;
}

/** What fell by more than `FALL_MAX`; ratios that only one side has are not compared. */
export function falls(baseline: Ratios, now: Ratios): Fall[] {
  return Object.entries(baseline).flatMap(([name, was]) => {
    const is = now[name];
    return is !== undefined && is < was * (1 - FALL_MAX) ? [{ name, was, is }] : [];
  });
}

/** How many ratios both sides have. */
export function compared(baseline: Ratios, now: Ratios): number {
  return Object.keys(baseline).filter((name) => now[name] !== undefined).length;
}

/** A line for each fall. */
export function describeFalls(found: readonly Fall[]): string {
  return found
    .map(
      ({ name, was, is }) =>
        `warning: ${name} fell from ${was.toPrecision(3)} to ${is.toPrecision(3)} (${Math.round((is / was - 1) * 100)} %)`,
    )
    .join("\n");
}
