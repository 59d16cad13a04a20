/** The answer to "why was this a miss?": the decision about one request, step by step, as plain data. */

/** One step of the decision. */
export interface ExplanationStep {
  /** What was decided: "site", "behavior", "key", "stored", "freshness", ... */
  readonly step: string;
  /** The outcome in a few words. */
  readonly outcome: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** What would happen to a request now, and why. Asking changes nothing. */
export interface Explanation {
  readonly url: string;
  readonly steps: readonly ExplanationStep[];
  /** Cache result and reason, the words of Cache-Status and of the access log. */
  readonly would: { readonly result: string; readonly reason: string };
  /** Further facts for machines. */
  readonly [more: string]: unknown;
}
