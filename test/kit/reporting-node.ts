/** A node of a test control plane that serves nothing: it joins, takes snapshots and says what the test wants. */
import type { RolloutReport, SnapshotAnswer } from "../../src/service/fleet-wire.ts";
import type { TestControl } from "./control.ts";

/** What it counted for a roll-out since it began. */
interface Counted {
  requests: number;
  errors: number;
}

/** The node. */
export class ReportingNode {
  readonly name: string;
  readonly id: string;
  readonly #credential: string;
  readonly #control: TestControl;
  /** Counts of the arm that it serves; the arm that began last. */
  readonly counted: Counted = { requests: 0, errors: 0 };
  before: Counted = { requests: 0, errors: 0 };
  /** Why new versions are not in force here. */
  problem: string | null = null;
  /** The snapshot as a whole is not put in force. */
  refuses = false;
  /** Knows nothing of roll-outs, as an older version. */
  isOld = false;
  originsOut: { site: string; origin: string; reason: string }[] = [];
  /** How far it says that it has come; null for the end of the log. */
  applied: number | null = null;
  snapshot: SnapshotAnswer | null = null;
  #arms = new Map<string, { arm: RolloutReport["arm"]; sinceMs: number }>();

  private constructor(control: TestControl, name: string, id: string, credential: string) {
    this.#control = control;
    this.name = name;
    this.id = id;
    this.#credential = credential;
  }

  static async join(control: TestControl, name: string): Promise<ReportingNode> {
    const token = (await control.ask("POST", "/v1/join-tokens", {})).value.secret;
    const joined = await control.ask("POST", "/v1/join", { name, version: "test" }, { token });
    const node = new ReportingNode(control, name, joined.value.node, joined.value.credential);
    await node.report();
    return node;
  }

  /** Takes the newest snapshot, unless it refuses. */
  async follow(): Promise<void> {
    const { value } = await this.#control.ask("GET", "/v1/changes/head", undefined, {
      token: this.#credential,
    });
    if (value.snapshot === null || this.refuses) return;
    const path = `/v1/snapshots/${value.snapshot}`;
    this.snapshot = (await this.#control.ask("GET", path, undefined, { token: this.#credential })).value;
  }

  /** Which version's host it would serve for a site: that of its arm. */
  hostOf(site: string): string | undefined {
    const staged = this.snapshot?.staged?.find(
      ({ nodes, sites }) => (nodes === null || nodes.includes(this.id)) && Object.hasOwn(sites, site),
    );
    const config = (staged?.sites ?? this.snapshot?.sites)?.[site];
    return (config as { hosts?: string[] } | undefined)?.hosts?.[0];
  }

  /** Follows and reports; the control plane has looked at it when this resolves. */
  async report(): Promise<void> {
    await this.follow();
    const head = (await this.#control.ask("GET", "/v1/changes/head", undefined, { token: this.#credential }))
      .value;
    const number = this.snapshot?.number ?? 0;
    const rollouts = (this.snapshot?.staged ?? []).map((staged): RolloutReport => {
      const arm = staged.nodes === null || staged.nodes.includes(this.id) ? "candidate" : "base";
      const known = this.#arms.get(staged.rollout);
      if (known?.arm !== arm) {
        this.#arms.set(staged.rollout, { arm, sinceMs: this.#control.clock.now() });
        Object.assign(this.counted, { requests: 0, errors: 0 });
      }
      return {
        rollout: staged.rollout,
        arm,
        problem: arm === "candidate" ? this.problem : null,
        sinceMs: this.#arms.get(staged.rollout)?.sinceMs ?? 0,
        counts: { ...this.counted },
        before: this.before,
      };
    });
    const answer = await this.#control.ask(
      "POST",
      "/v1/nodes/self/report",
      {
        version: "test",
        snapshot: {
          number,
          problem: this.refuses ? "out of memory" : null,
          refused: this.refuses ? head.snapshot : null,
        },
        applied: this.applied ?? head.head,
        ready: { ready: true, reasons: [] },
        load: {
          requests: 0,
          requestsInFlight: 0,
          hitRatio: null,
          storeBytes: 0,
          memoryBytes: 0,
          uptimeSeconds: 1,
        },
        counted: [],
        ...(this.isOld ? {} : { rollouts, originsOut: this.originsOut }),
      },
      { token: this.#credential },
    );
    if (answer.status !== 200) throw new Error(answer.text);
    // The look that a report causes.
    await new Promise((resolve) => setImmediate(resolve));
  }
}
