/** What is told: a condition that holds, and what became of it. */

/** What is watched. */
export type AlertKind = "failover" | "certificate" | "hitRatio" | "errorRate" | "test";

/** Something that is not as it should be, as found at one moment. */
export interface Condition {
  readonly kind: AlertKind;
  /** What it is about, such as "shop/app": with the kind it is what an alert is known by. */
  readonly subject: string;
  readonly severity: "warning" | "critical";
  /** One sentence for a person. */
  readonly summary: string;
  /** Numbers and names for programs. */
  readonly details: Readonly<Record<string, string | number>>;
}

/** A change that is told. `reminder`: it still holds. */
export interface AlertChange {
  readonly state: "firing" | "reminder" | "resolved";
  readonly condition: Condition;
  /** Since when it has held, in milliseconds since the epoch. */
  readonly sinceMs: number;
  /** When this was found. */
  readonly atMs: number;
}

/**
 * Something that became known at one moment. `failover`: an origin is left out, others of its group answer;
 * `recovery`: it is asked again.
 */
export type AlertEvent =
  | {
      readonly kind: "failover";
      readonly site: string;
      readonly origin: string;
      /** Why, in a few words. */
      readonly reason: string;
    }
  | { readonly kind: "recovery"; readonly site: string; readonly origin: string };

/** By what an alert is known, as long as it holds. */
export function keyOf({ kind, subject }: Condition): string {
  return `${kind}/${subject}`;
}
