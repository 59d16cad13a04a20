/** What a process that reads a config says to the one that asked for it. Each message is answered by one before the next is sent. */
import type { Problem } from "../problems.ts";

/** A site as it passes: its id, what it is known by, and itself as JSON. */
export type PassingSite = readonly [id: string, digest: string, json: string];

/** Sites first, some at a time; then how it ended, with the files that were read. */
export type ReadingMessage =
  | { readonly kind: "sites"; readonly sites: readonly PassingSite[] }
  | {
      readonly kind: "config";
      /** The node's own part, as JSON. */
      readonly node: string;
      readonly warnings: readonly Problem[];
      readonly files: readonly string[];
    }
  | { readonly kind: "refused"; readonly problems: readonly Problem[]; readonly files: readonly string[] };
