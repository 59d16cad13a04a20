/** The sites of a local CI run: one in front of an origin, or those of a config with the origin in place of theirs. */
import { dirname, resolve } from "node:path";
import { ConfigLoader } from "../../config/load.ts";
import { formatProblems } from "../../config/problems.ts";
import { isRecord } from "../control-client.ts";
import { UsageError } from "../failure.ts";
import type { DevOrigin } from "../origin.ts";

/** A site as its author wrote it. */
type RawSite = Readonly<Record<string, unknown>>;

/** What the nodes of a run are told of its sites. */
export interface CiSites {
  readonly sites: Readonly<Record<string, RawSite>>;
  /** Names of shields that sites use: the run's one shield stands for all of them. */
  readonly shields: readonly string[];
  /** Directories that origins lead to. */
  readonly directories: readonly string[];
  /** Variables of the environment that sites have their secrets in. */
  readonly secretVariables: readonly string[];
}

/** Name of the run's own site and of its shield. */
const SITE = "ci";
const SHIELD = "shield";

/** One site in front of an origin, for any host. */
export function siteOf(origin: RawSite, isShielded: boolean): CiSites {
  const site = {
    hosts: ["*"],
    origins: { origin },
    behaviors: [{ path: "/*", allowedMethods: "all" }],
  };
  return summed({ [SITE]: site }, isShielded);
}

/** The sites of a config file; `origin`, where it is given, is asked in place of every origin of theirs. */
export async function sitesOfConfig(
  file: string,
  origin: RawSite | null,
  isShielded: boolean,
): Promise<CiSites> {
  const loader = new ConfigLoader(file);
  const loaded = await loader.load();
  // Where shields are is a node's own matter, and here one stands for all of them.
  const problems = loaded.ok ? [] : loaded.problems.filter(({ path }) => !/^sites\..+\.shields\[/.test(path));
  if (problems.length > 0) throw new UsageError(formatProblems(file, problems).replaceAll("\n", "; "));
  const raw = isRecord(loader.value) && isRecord(loader.value.sites) ? loader.value.sites : {};
  const sites: Record<string, RawSite> = {};
  for (const [id, site] of Object.entries(raw)) {
    if (!isRecord(site)) continue;
    const origins = isRecord(site.origins) ? site.origins : {};
    sites[id] = {
      ...site,
      origins: Object.fromEntries(
        Object.entries(origins).map(([name, one]) => {
          if (origin !== null) return [name, origin];
          // Relative paths start at the config's folder, which the nodes do not know.
          return isRecord(one) && typeof one.directory === "string"
            ? [name, { ...one, directory: resolve(dirname(file), one.directory) }]
            : [name, one];
        }),
      ),
    };
  }
  if (Object.keys(sites).length === 0) throw new UsageError(`${file} has no sites`);
  return summed(sites, isShielded);
}

/** An origin as a config writes it. */
export function rawOrigin(origin: Exclude<DevOrigin, { kind: "demo" }>): RawSite {
  return origin.kind === "url" ? { url: origin.url } : { directory: origin.path };
}

function summed(sites: Readonly<Record<string, RawSite>>, isShielded: boolean): CiSites {
  const shields = new Set<string>([SHIELD]);
  const directories = new Set<string>();
  const secretVariables = new Set<string>();
  const made: Record<string, RawSite> = {};
  for (const [id, site] of Object.entries(sites)) {
    const named = Array.isArray(site.shields) ? site.shields.filter((one) => typeof one === "string") : null;
    for (const name of named ?? []) shields.add(name);
    const { shields: _, ...rest } = site;
    made[id] = isShielded ? { ...rest, shields: named ?? [SHIELD] } : rest;
    collect(site, directories, secretVariables);
  }
  return {
    sites: made,
    shields: [...shields],
    directories: [...directories],
    secretVariables: [...secretVariables],
  };
}

/** Looks for `directory: path` and `{ env: NAME }`, wherever they stand. */
function collect(value: unknown, directories: Set<string>, variables: Set<string>): void {
  if (Array.isArray(value)) for (const one of value) collect(one, directories, variables);
  if (!isRecord(value)) return;
  const names = Object.keys(value);
  if (names.length === 1 && typeof value.env === "string") variables.add(value.env);
  if (typeof value.directory === "string") directories.add(value.directory);
  for (const name of names) collect(value[name], directories, variables);
}
