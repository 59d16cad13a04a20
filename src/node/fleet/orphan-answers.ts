/** Questions of the control plane about what is stored here, answered with the next reports. */
import { parseSite } from "../../config/parse.ts";
import type { SiteConfig } from "../../config/schema.ts";
import type { OrphanCount } from "../../edge/orphans.ts";
import { type NodeReport, type OrphanAsk, REPORTED_ROLLOUTS_MAX } from "../../service/fleet-wire.ts";

type Answer = NonNullable<NodeReport["orphans"]>[number];

/** Questions that were answered lately: they are asked until the answer has arrived. */
const ASKED_MAX = 1_000;
const BEHAVIORS_MAX = 1_000;

/** The answers that are on their way. */
export class OrphanAnswers {
  readonly #report: () => void;
  readonly #asked = new Set<string>();
  #ready: Answer[] = [];

  /** `report` has a report sent soon. */
  constructor(report: () => void) {
    this.#report = report;
  }

  /** Takes a question; one that was asked already is answered once. */
  ask(
    { id, site, config }: OrphanAsk,
    target: { orphans(site: string, config: SiteConfig): Promise<OrphanCount[]> },
  ): void {
    if (this.#asked.has(id)) return;
    this.#asked.add(id);
    if (this.#asked.size > ASKED_MAX) {
      const [oldest] = this.#asked;
      if (oldest !== undefined) this.#asked.delete(oldest);
    }
    const parsed = parseSite(site, config, undefined, undefined);
    if (parsed.site === null) return;
    target.orphans(site, parsed.site).then(
      (behaviors) => {
        this.#ready.push({ id, behaviors: behaviors.slice(0, BEHAVIORS_MAX) });
        this.#report();
      },
      // A worker that is being replaced: who asked counts the nodes that have answered.
      () => {},
    );
  }

  answers(): Answer[] {
    return this.#ready.slice(0, REPORTED_ROLLOUTS_MAX);
  }

  /** These have arrived. */
  told(answers: readonly Answer[]): void {
    const ids = new Set(answers.map(({ id }) => id));
    this.#ready = this.#ready.filter(({ id }) => !ids.has(id));
  }
}
