/**
 * Operating errors are typed values with a code, a source and whether a retry can help. Broken
 * assertions are bugs and end the request (or the process) instead.
 */

/** Who caused an error. */
export type ErrorSource = "viewer" | "origin" | "node";

/** An error that an operator or a viewer can cause; never a bug of ours. */
export class ProximaError<Code extends string = string> extends Error {
  readonly code: Code;
  readonly source: ErrorSource;
  /** True when the same request may succeed if sent again at once on another connection. */
  readonly retryable: boolean;

  constructor(
    code: Code,
    message: string,
    options: { source: ErrorSource; retryable?: boolean; cause?: unknown },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ProximaError";
    this.code = code;
    this.source = options.source;
    this.retryable = options.retryable ?? false;
  }
}

/** One clear sentence of an error, without a stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
