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

/** Tells each problem once. */
export class Problems {
  readonly #tell: (message: string) => void;
  readonly #told = new Set<string>();

  constructor(tell: (message: string) => void) {
    this.#tell = tell;
  }

  /** Something is wrong with `where` (the disk, or one shard of it). */
  report(problem: DiskProblem, where: string, message: string): void {
    const id = `${problem} ${where}`;
    if (this.#told.has(id)) return;
    this.#told.add(id);
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

  /** Problems that stand now. */
  get standing(): readonly string[] {
    return [...this.#told];
  }
}
