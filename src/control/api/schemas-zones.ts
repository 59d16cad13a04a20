/** Bodies and answers of the routes of push zones. */
import * as z from "zod";
import { RELEASE_FILES_MAX, RELEASES_KEPT_DEFAULT, RELEASES_KEPT_MAX } from "../../storage/limits.ts";
import { checkPath, ZONE_NAME } from "../../storage/zone-path.ts";
import { ZONE_HASHES_MAX } from "../limits.ts";

/** Paths that an answer lists of each kind. */
export const PATHS_SHOWN_MAX = 10_000;

const whole = z.int().min(0);
const hash = z.string().regex(/^[0-9a-f]{64}$/, "expected a SHA-256 in hexadecimal");
const documentName = z.string().min(1).max(200).refine(isFilePath, { error: "expected the path of a file" });

export const zone = z
  .object({
    name: z.string(),
    site: z.string().nullable().describe("The site that it belongs to; null for who may all."),
    indexDocument: z.string(),
    errorDocument: z.string().nullable(),
    keepReleases: whole,
    preposition: z.boolean(),
    createdAt: z.string(),
    createdBy: z.string(),
    release: whole.nullable().describe("The release that was made current last."),
    files: whole,
    bytes: whole,
    shownBy: z.array(z.string()).describe("Sites that have shown it."),
  })
  .meta({ id: "Zone" });
export const endedZone = z.object({ name: z.string() });
export const zoneRequest = z.strictObject({
  name: z.string().regex(ZONE_NAME, "expected 3 to 63 lower-case letters, digits and -"),
  site: z
    .string()
    .min(1)
    .max(100)
    .nullable()
    .optional()
    .describe("The only site that may show it. Left out: any."),
  indexDocument: documentName
    .refine((name) => !name.includes("/"), { error: "expected a name without a slash" })
    .prefault("index.html")
    .describe("File that is served for a folder."),
  errorDocument: documentName
    .nullable()
    .optional()
    .describe('File that is served with 404, such as "404.html".'),
  keepReleases: z.int().min(1).max(RELEASES_KEPT_MAX).prefault(RELEASES_KEPT_DEFAULT),
  preposition: z
    .boolean()
    .prefault(true)
    .describe(
      "Whether every node asks for new files ahead of viewers, by the host names that sites name in full.",
    ),
});
export const hashesRequest = z.strictObject({ hashes: z.array(hash).min(1).max(ZONE_HASHES_MAX) });
export const hashesAnswer = z.object({ missing: z.array(z.string()) });
export const release = z
  .object({
    zone: z.string(),
    number: whole,
    digest: z.string().describe("Of its paths, their content and types."),
    files: whole,
    bytes: whole,
    note: z.string(),
    createdAt: z.string(),
    createdBy: z.string(),
    current: z.boolean(),
    activeAt: z.string().nullable(),
  })
  .meta({ id: "Release" });
export const releaseRequest = z.strictObject({
  files: z
    .array(
      z.strictObject({
        path: z.string().min(1).max(2_000),
        hash,
        bytes: whole,
        type: z
          .string()
          .max(200)
          .regex(/^[\x20-\x7e]+$/)
          .optional()
          .describe("Content type. Left out: by the name."),
      }),
    )
    .max(RELEASE_FILES_MAX),
  note: z.string().max(500).prefault(""),
  activate: z.boolean().prefault(true),
});
export const activation = z.object({
  release,
  changedCount: whole,
  removedCount: whole,
  changed: z.array(z.string()).describe("Paths with other content than before; the first of them."),
  removed: z.array(z.string()),
  purges: z.array(z.string()).describe("Purges that tell the edges, one for each site that shows the zone."),
});

function isFilePath(path: string): boolean {
  try {
    return !checkPath(path).endsWith("/");
  } catch {
    return false;
  }
}
