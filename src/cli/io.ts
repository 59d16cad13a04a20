/** Where a command writes: the process's streams, or a test's. */

/** Output of a command. */
export interface Io {
  /** Results, for people and pipes. */
  out(text: string): void;
  /** Errors and progress. */
  err(text: string): void;
  /** True when `out` is a terminal that wants colors. */
  readonly color: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Resolves when what was written has left the process. */
  flush(): Promise<void>;
}

/** The process's own streams. Colors only on a terminal, and never with NO_COLOR (no-color.org). */
export function systemIo(): Io {
  let pending: Promise<unknown> = Promise.resolve();
  const write = (stream: NodeJS.WriteStream, text: string) => {
    const written = new Promise<void>((resolve) => stream.write(text, () => resolve()));
    pending = Promise.all([pending, written]);
  };
  // A reader that went away (`proxima explain ... | head`) is no fault of ours.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  const { env } = process;
  return {
    out: (text) => write(process.stdout, text),
    err: (text) => write(process.stderr, text),
    color: process.stdout.isTTY === true && (env.NO_COLOR ?? "") === "" && env.TERM !== "dumb",
    env,
    flush: async () => {
      await pending;
    },
  };
}

/** Text with emphasis where the terminal wants it. */
export interface Style {
  bold(text: string): string;
  dim(text: string): string;
}

/** Escape sequences when `color`, plain text otherwise. */
export function styleFor(color: boolean): Style {
  const wrap = (code: number, end: number) => (text: string) =>
    color ? `\u001b[${code}m${text}\u001b[${end}m` : text;
  return { bold: wrap(1, 22), dim: wrap(2, 22) };
}

/** Foreign text for a terminal: control characters can not move its cursor. */
export function plainText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not reach a terminal
  return text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, "?");
}
