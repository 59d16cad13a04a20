/** How a command fails: one sentence on standard error and an exit status. */
import { messageOf, ProximaError } from "../base/errors.ts";

/** Exit statuses of the program; they are part of its interface and stand in the help. `different`: `plan` found something to do. */
export const EXIT = { ok: 0, runtime: 1, usage: 2, different: 3 } as const;

/** A command line or a config that is wrong: status 2. */
export class UsageError extends ProximaError<"usage"> {
  constructor(message: string, cause?: unknown) {
    super("usage", message, { source: "node", cause });
    this.name = "UsageError";
  }
}

/** A command that has said everything already and only ends with a status. */
export class SilentExit extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`exit ${status}`);
    this.name = "SilentExit";
    this.status = status;
  }
}

/** The sentence and the status for whatever a command threw. */
export function failureOf(error: unknown): { readonly text: string; readonly status: number } {
  if (error instanceof SilentExit) return { text: "", status: error.status };
  const status = error instanceof UsageError ? EXIT.usage : EXIT.runtime;
  const sentence = messageOf(error)
    .replace(/\s*\n\s*/g, " ")
    .trim();
  // An error that is not typed is a bug: its stack is what a report needs.
  const stack =
    error instanceof ProximaError || !(error instanceof Error) || process.env.PROXIMA_DEBUG === undefined
      ? ""
      : `${error.stack ?? ""}\n`;
  return { text: `proxima: ${sentence}\n${stack}`, status };
}
