/** What a node needs of whoever reads its config file: in its own process (load.ts), or in another (reading/). */
import type { Problem } from "./problems.ts";
import type { Config } from "./schema.ts";

/** A config that may be used, or why not. */
export type LoadResult =
  | { readonly ok: true; readonly config: Config; readonly warnings: readonly Problem[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** Reads one config file again and again; sites that did not change stay the same objects. */
export interface ConfigReader {
  /** The files that the config was last made from: itself, and what it imports. */
  readonly sources: readonly string[];
  /** Reads the file as it is now. Never rejects. */
  load(): Promise<LoadResult>;
  /** The last reading came to nothing for no fault of the sources: another one may do better, unchanged as they are. */
  readonly missed: boolean;
  /** True when a source holds something else than when it was last read, or nothing was read yet. */
  changed(): Promise<boolean>;
  /** Takes the sources as read as they are at this moment, when nothing was read yet. */
  takeAsRead(): void;
}
