/** What open roll-outs put in place of active versions: read from their records by whoever makes a snapshot. */
import type { ControlDatabase } from "../database.ts";

/** Versions of a roll-out, for some of the nodes. */
export interface StagedVersions {
  readonly rollout: string;
  /** Ids of the nodes that take them; null for all. */
  readonly nodes: readonly string[] | null;
  readonly sites: Readonly<Record<string, number>>;
}

/** A site's place in a roll-out: the version before, null for none, and the new one. */
export interface RolledSite {
  readonly from: number | null;
  readonly to: number;
}

interface Row {
  readonly id: string;
  readonly sites: string;
  readonly nodes: string;
}

/** Of every open roll-out, in the order of their making. */
export function stagedVersions(database: ControlDatabase): StagedVersions[] {
  return openRows(database).map((row) => {
    // Written by `Rollouts` alone.
    const { all, ids } = JSON.parse(row.nodes) as { all: boolean; ids: string[] };
    const sites = Object.entries(sitesOf(row)).map(([id, { to }]) => [id, to]);
    return { rollout: row.id, nodes: all ? null : ids, sites: Object.fromEntries(sites) };
  });
}

/** The open roll-out that a site is in; null when there is none. */
export function openRolloutOf(database: ControlDatabase, site: string): string | null {
  return openRows(database).find((row) => Object.hasOwn(sitesOf(row), site))?.id ?? null;
}

/** Versions of a site that open roll-outs name. */
export function versionsRolledOut(database: ControlDatabase, site: string): number[] {
  return openRows(database).flatMap((row) => {
    const found = Object.hasOwn(sitesOf(row), site) ? sitesOf(row)[site] : undefined;
    return found === undefined ? [] : [found.to];
  });
}

function openRows(database: ControlDatabase): Row[] {
  return database.all<Row>(
    "SELECT id, sites, nodes FROM rollouts WHERE ended_ms IS NULL ORDER BY created_ms, id",
  );
}

function sitesOf(row: Row): Record<string, RolledSite> {
  return JSON.parse(row.sites) as Record<string, RolledSite>;
}
