/**
 * Is a site's config one that a fleet may run? The same schema and checks as for a file, and what follows
 * from the config being read on other machines than its author's: paths are absolute, and each node decides
 * for itself whether a site may reach them.
 */

import { isAbsolute } from "node:path";
import type { Finding } from "../config/issues.ts";
import { isBucket } from "../config/origins.ts";
import { listedFindings, parseSite } from "../config/parse.ts";
import { type Problem, pathText } from "../config/problems.ts";
import type { OriginConfig } from "../config/schema.ts";
import { canonicalText, contentHash } from "./canonical.ts";
import { SITE_CHARS_MAX } from "./limits.ts";

/** What a check came to; paths of problems begin at the site. */
export type SiteCheck =
  | {
      readonly ok: true;
      /** The config as its author wrote it, in its one form. */
      readonly text: string;
      readonly hash: string;
      readonly hosts: readonly string[];
      readonly warnings: readonly SiteProblem[];
    }
  | { readonly ok: false; readonly problems: readonly SiteProblem[] };

/** Something wrong or doubtful. */
export type SiteProblem = Pick<Problem, "path" | "message" | "severity">;

/** Checks the config of site `id`. Never throws. */
export function checkSiteConfig(id: string, config: unknown): SiteCheck {
  const text = canonicalText(config);
  if (text.length > SITE_CHARS_MAX)
    return {
      ok: false,
      problems: [
        {
          path: "",
          message: `is ${text.length} characters long; at most ${SITE_CHARS_MAX} are allowed`,
          severity: "error",
        },
      ],
    };
  const { site, findings } = parseSite(id, config, undefined, undefined);
  const shown = listedFindings(findings).map(problemOf);
  if (site === null || shown.some(({ severity }) => severity === "error"))
    return { ok: false, problems: shown };
  const relative = Object.entries(site.origins).flatMap(([name, origin]) =>
    pathsOf(origin)
      .filter(([, path]) => !isAbsolute(path))
      .map(
        ([setting]): SiteProblem => ({
          path: `origins.${name}.${setting}`,
          message: "must be an absolute path: it is one of the nodes, not of this machine",
          severity: "error",
        }),
      ),
  );
  if (relative.length > 0) return { ok: false, problems: relative };
  return {
    ok: true,
    text,
    hash: contentHash(text),
    hosts: [...new Set(site.hosts)],
    warnings: shown,
  };
}

function problemOf({ path, message, severity }: Finding): SiteProblem {
  return { path: pathText(path), message, severity };
}

/** The files that an origin names, by the name of the setting. */
function pathsOf(origin: OriginConfig): [string, string][] {
  if ("directory" in origin) return [["directory", origin.directory]];
  if ("zone" in origin) return [];
  const paths: [string, string][] = [];
  if (origin.tls.caFile !== undefined) paths.push(["tls.caFile", origin.tls.caFile]);
  if (!isBucket(origin)) return paths;
  const { credentials } = "s3" in origin ? origin.s3 : "gcs" in origin ? origin.gcs : origin.azure;
  for (const [name, ref] of Object.entries(credentials ?? {}))
    if (typeof ref === "object" && ref !== null && "file" in ref)
      paths.push([`credentials.${name}`, String(ref.file)]);
  return paths;
}
