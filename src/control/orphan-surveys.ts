/**
 * How much of what is stored would be lost by a change of a site's key rules: nodes are asked with the answer
 * to their next report, and look at everything that they have. In memory: who waits is gone after a restart.
 */
import { randomUUID } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import type { NodeReport, OrphanAsk } from "../service/fleet-wire.ts";
import type { ChangeLog } from "./change-log.ts";
import { SURVEYS_MAX } from "./limits.ts";
import { News } from "./news.ts";
import type { Nodes } from "./nodes.ts";
import { Refused } from "./refusal.ts";

/** What becomes of the objects of one behaviour, on all nodes that have answered. */
export interface BehaviorOrphans {
  readonly path: string;
  readonly stored: number;
  readonly orphaned: number;
}

/** What a change of one site costs. */
export interface SiteOrphans {
  readonly site: string;
  readonly behaviors: readonly BehaviorOrphans[];
  /** Nodes that have answered, of those that were asked. */
  readonly answered: number;
  readonly asked: number;
}

interface Survey {
  readonly ask: OrphanAsk;
  readonly nodes: ReadonlySet<string>;
  readonly answers: Map<string, readonly BehaviorOrphans[]>;
}

/** The questions that are open. */
export class OrphanSurveys {
  readonly #nodes: Nodes;
  readonly #clock: Clock;
  readonly #news: News;
  readonly #open = new Map<string, Survey>();

  readonly #log: ChangeLog;

  constructor(nodes: Nodes, log: ChangeLog, clock: Clock) {
    this.#nodes = nodes;
    this.#log = log;
    this.#clock = clock;
    this.#news = new News(clock);
  }

  /** Asks every node that can be reached what these configs would cost, and waits `ms` for answers at most. */
  async survey(
    configs: ReadonlyMap<string, unknown>,
    ms: number,
    signal: AbortSignal,
  ): Promise<SiteOrphans[]> {
    if (this.#open.size + configs.size > SURVEYS_MAX)
      throw new Refused(429, "too many questions about what is stored are open; try again in some seconds", {
        fields: { "retry-after": "10" },
      });
    // Those that report on roll-outs know this question as well.
    const fit = this.#nodes.all().filter(({ state, report }) => state === "reachable" && report?.rollouts);
    const nodes = new Set(fit.map(({ id }) => id));
    const surveys = [...configs].map(([site, config]): Survey => {
      const ask = { id: randomUUID(), site, config };
      return { ask, nodes, answers: new Map() };
    });
    for (const survey of surveys) this.#open.set(survey.ask.id, survey);
    // Nodes that wait for changes report at once.
    if (surveys.length > 0) this.#log.wakeAll();
    try {
      const endMs = this.#clock.now() + ms;
      while (surveys.some((one) => one.answers.size < one.nodes.size)) {
        const leftMs = endMs - this.#clock.now();
        if (leftMs <= 0 || signal.aborted) break;
        await this.#news.next(leftMs, signal);
      }
    } finally {
      for (const { ask } of surveys) this.#open.delete(ask.id);
    }
    return surveys.map(resultOf);
  }

  /** What a node is to be asked now. */
  asksFor(node: string): OrphanAsk[] {
    return [...this.#open.values()]
      .filter(({ nodes, answers }) => nodes.has(node) && !answers.has(node))
      .map(({ ask }) => ask);
  }

  /** Takes what a node has answered. */
  reported(node: string, report: Pick<NodeReport, "orphans">): void {
    for (const { id, behaviors } of report.orphans ?? []) {
      const survey = this.#open.get(id);
      if (survey?.nodes.has(node) === true) survey.answers.set(node, behaviors);
    }
    if ((report.orphans ?? []).length > 0) this.#news.tell();
  }

  /** Ends every wait. */
  close(): void {
    this.#open.clear();
    this.#news.tell();
  }
}

function resultOf({ ask, nodes, answers }: Survey): SiteOrphans {
  const sums = new Map<string, BehaviorOrphans>();
  for (const { path, stored, orphaned } of [...answers.values()].flat()) {
    const known = sums.get(path);
    sums.set(path, {
      path,
      stored: stored + (known?.stored ?? 0),
      orphaned: orphaned + (known?.orphaned ?? 0),
    });
  }
  return { site: ask.site, behaviors: [...sums.values()], answered: answers.size, asked: nodes.size };
}
