/** What is wrong with the disk, told once: again only after it was well in between. */

/** Kinds of problems. */
export type DiskProblem =
  | "full"
  | "unusable"
  | "vanished"
  | "index-corrupt"
  | "unsettled"
  | "object-corrupt"
  | "io"
  | "callback";

/** Those that last until they are cleared. */
const LASTING: ReadonlySet<DiskProblem> = new Set(["full", "unusable", "vanished"]);

/** Tells each problem once. */
export class Problems {
  readonly #tell: (message: string) => void;
  readonly #told = new Map<string, { readonly problem: DiskProblem; readonly message: string }>();

  constructor(tell: (message: string) => void) {
    this.#tell = tell;
  }

  /** Something is wrong with `where` (the disk, or one shard of it). */
  report(problem: DiskProblem, where: string, message: string): void {
    const id = `${problem} ${where}`;
    if (this.#told.has(id)) return;
    this.#told.set(id, { problem, message });
    try {
      this.#tell(message);
    } catch {
      // The disk goes on although nobody could be told.
    }
  }

  /** It is well again; true when it had been told to be wrong. */
  clear(problem: DiskProblem, where: string): boolean {
    return this.#told.delete(`${problem} ${where}`);
  }

  /** Problems that stand now, in sentences: what was damaged and removed is over. */
  get standing(): readonly string[] {
    return [...this.#told.values()].flatMap(({ problem, message }) =>
      LASTING.has(problem) ? [message] : [],
    );
  }
}
