/** What a load generator says of a run, whichever it was. */
export interface LoadReport {
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Answers that were not of class 2xx or 3xx, and requests without an answer. */
  readonly failures: number;
}
