/**
 * A node's membership in a fleet: it follows the fleet's log, puts snapshots in force, applies purges, and
 * says how far it has come. Nothing here is in the way of a request: when the control plane is gone the node
 * goes on with what it has, says so, and catches up when it is back.
 *
 * Places in the log are taken in order. A purge and the place behind it are one transaction; a snapshot is
 * put in force first and its place noted after, so that a crash repeats it.
 */
import { hostname } from "node:os";
import type { Clock, ClockSetting } from "../../base/clock.ts";
import { messageOf, ProximaError } from "../../base/errors.ts";
import { EVERY_SITE } from "../../cache/purge-table.ts";
import type { SiteMemory } from "../../config/parse.ts";
import type { Config, NodeConfig, SiteConfig } from "../../config/schema.ts";
import type { OrphanCount } from "../../edge/orphans.ts";
import type { FleetStanding } from "../../edge/settings.ts";
import type { BusAccess } from "../../service/bus/bus-connection.ts";
import {
  type NodeReport,
  POLL_SECONDS_MAX,
  REPORTED_ORIGINS_MAX,
  type SnapshotAnswer,
} from "../../service/fleet-wire.ts";
import type { NodeLog } from "../../service/log.ts";
import type { StatsSnapshot } from "../../telemetry/stats.ts";
import type { Readiness } from "../edge-handle.ts";
import type { FleetPosition, PurgeLog } from "../purge-log.ts";
import { BusLog } from "./bus-log.ts";
import { ControlClient } from "./control-client.ts";
import { FleetFiles } from "./fleet-files.ts";
import { ControlLog, type FleetLog, type LogAnswer } from "./fleet-log.ts";
import { type FleetSites, fleetSites } from "./fleet-sites.ts";
import type { Membership } from "./membership.ts";
import { OrphanAnswers } from "./orphan-answers.ts";
import { Reporter } from "./reporter.ts";
import { RolloutWatch } from "./rollout-watch.ts";
import { type LoggedPurge, type Step, stepsOf } from "./steps.ts";
import { Sync } from "./sync.ts";
import { UrlTargets } from "./url-targets.ts";

/** How long a start waits for the control plane before it goes on with what the node has, in milliseconds. */
const START_MS_MAX = 10_000;
/** Waits between attempts to reach the control plane: doubled each time. */
const RETRY_MS_MIN = 250;
const RETRY_MS_MAX = 5_000;
/** After the control plane has said that it does not know this node. */
const REFUSED_RETRY_MS = 60_000;
/** Of what is wrong with a snapshot, in a report. */
const PROBLEM_CHARS_MAX = 4_000;

/** What the membership acts on, once the node runs. */
export interface FleetTarget {
  /** Puts sites in force; resolves with what is wrong, or null. */
  applySites(sites: Config["sites"]): Promise<string | null>;
  takePurges(entries: readonly LoggedPurge[], position: FleetPosition): Promise<void>;
  setFleet(standing: FleetStanding): void;
  /** Asks for new content ahead of viewers, in its own time. */
  fill(urls: readonly string[]): void;
  stopFilling(): void;
  ready(): Readiness;
  stats(): StatsSnapshot | Promise<StatsSnapshot>;
  /** What of a site's stored responses another config of it would never find. */
  orphans(site: string, config: SiteConfig): Promise<OrphanCount[]>;
  /** Origins of groups that are left out now, the first `max` of them. */
  originsOut(max: number): NonNullable<NodeReport["originsOut"]>;
}

/** How a node joins. */
export interface FleetOptions {
  readonly config: NodeConfig;
  /** A join token, for a node that has not joined yet. */
  readonly joinToken: string | null;
  readonly fileOf: (name: string) => string;
  readonly purgeLog: PurgeLog;
  readonly version: string;
  readonly clock: Clock;
  /** Sets the node's clock as the fleet's; null on nodes that keep their machine's time. */
  readonly setClock: ((setting: ClockSetting) => void) | null;
  readonly log: NodeLog;
  /** How the bus is reached that carries the fleet's log; null when it is read from the control plane. */
  readonly bus: BusAccess | null;
}

/** A snapshot as this node reads it. */
interface ReadSnapshot extends FleetSites {
  readonly answer: SnapshotAnswer;
}

/** What the node's own API shows of it. */
export interface FleetView {
  readonly control: string;
  readonly node: string;
  /** Number of the control plane's snapshot in force; 0 for none. */
  readonly snapshot: number;
  /** The newest entry of the fleet's log that is applied. */
  readonly applied: number;
  readonly synced: boolean;
  readonly drained: boolean;
  readonly problem: string | null;
}

/** The membership. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #client: ControlClient;
  #log: FleetLog;
  readonly #files: FleetFiles;
  readonly #name: string;
  readonly #memory: SiteMemory = new Map();
  readonly #targets = new UrlTargets();
  readonly #reporter: Reporter;
  readonly #rollouts: RolloutWatch;
  readonly #orphans = new OrphanAnswers(() => this.#reporter.now());
  #node = "";
  /** The one in force. */
  #snapshot = 0;
  /** One that was read and is not in force yet. */
  #next: ReadSnapshot | null = null;
  /** The newest entry of the log that is applied: the place is noted a moment before. */
  #applied = 0;
  #problem: string | null = null;
  /** The newest snapshot that could not be put in force, since the last that could. */
  #refused: number | null = null;
  /** The last known good snapshot that the node started with, until what it counts for roll-outs has begun. */
  #startedWith: ReadSnapshot | null = null;
  /** The start went on without the log: what is newest has to be asked for when it is back. */
  #startedWithout = false;
  readonly #sync: Sync;
  #drained = false;
  #target: FleetTarget | null = null;
  #closed = false;
  #wakeUp: () => void = () => {};

  constructor(options: FleetOptions, ca: string | null) {
    const { join } = options.config;
    if (join === undefined) throw new Error("the config names no fleet");
    this.#options = options;
    this.#client = new ControlClient(join.control, ca);
    this.#log = new ControlLog(this.#client);
    this.#files = new FleetFiles(options.fileOf);
    this.#sync = new Sync({
      clock: options.clock,
      limitSeconds: join.revalidateAfterSeconds ?? null,
      changed: () => this.#stand(),
      limitPassed: (seconds) =>
        options.log(
          "warning",
          `${this.#log.name} could not be followed for ${seconds} s: nothing stored is served without asking its origin`,
        ),
    });
    this.#reporter = new Reporter({
      clock: options.clock,
      describe: () => this.#describe(),
      send: async (report) => {
        const { drained, asks = [] } = await this.#client.report(report);
        this.#orphans.told(report.orphans ?? []);
        for (const ask of asks) this.#orphans.ask(ask, this.#mustTarget());
        if (this.#options.bus !== null) this.#setDrained(drained);
      },
      // Who reads the log from elsewhere can be in step all the same.
      failed: () => {
        if (this.#options.bus === null && !this.#closed) this.#sync.set(false);
      },
    });
    this.#rollouts = new RolloutWatch(options.clock);
    this.#name =
      join.name ??
      hostname()
        .toLowerCase()
        .replace(/[^a-z0-9.-]/g, "-")
        .slice(0, 63);
  }

  /**
   * Joins when that was not done yet, catches up while the control plane answers, and resolves with the sites
   * to start with: the newest snapshot, or the last known good one. Nothing serves yet.
   */
  async start(): Promise<Config["sites"]> {
    await this.#join();
    const known = this.#files.snapshot();
    const good = known === null ? null : await this.#read(known);
    if (known !== null) this.#snapshot = known.number;
    try {
      await (known === null ? this.#firstCatchUp() : this.#catchUp());
      this.#sync.start(true);
    } catch (error) {
      if (known === null)
        throw new ProximaError(
          "fleet_no_snapshot",
          `${messageOf(error)}; and this node has no snapshot to start from`,
          { source: "node", cause: error },
        );
      this.#options.log(
        "warning",
        `${messageOf(error)}; starting from the last known good snapshot ${known.number}`,
      );
      this.#startedWithout = true;
      this.#sync.start(false);
    }
    this.#applied = this.#position?.sequence ?? 0;
    // What is known to be good first: a newer one that can not be put in force must not keep the node from starting.
    this.#startedWith = good;
    if (good !== null) return good.sites;
    return this.#next?.sites ?? {};
  }

  /** Follows the log from now on. */
  run(target: FleetTarget): void {
    this.#target = target;
    this.#stand();
    void this.#follow();
    this.#reporter.start();
  }

  /** Notes how many objects a purge hit, to be told. */
  counted(sequence: number, objects: number): void {
    this.#reporter.counted(sequence, objects);
  }

  view(): FleetView {
    return {
      control: this.#client.url,
      node: this.#node,
      snapshot: this.#snapshot,
      applied: this.#applied,
      synced: this.#sync.synced,
      drained: this.#drained,
      problem: this.#problem,
    };
  }

  /** What the fleet makes of the edge's readiness. */
  ready(edge: Readiness): Readiness {
    const reasons = [...edge.reasons];
    if (!this.#sync.synced) reasons.push(`${this.#log.name} can not be followed: purges may be missing`);
    if (this.#problem !== null) reasons.push(`snapshot ${this.#snapshot}: ${this.#problem}`);
    if (!this.#drained) return { ready: edge.ready, reasons };
    return { ready: false, reasons: ["the control plane wants no viewers sent here", ...reasons] };
  }

  /** Requests to the control plane. */
  get client(): ControlClient {
    return this.#client;
  }

  /** The URL of the control plane. */
  get control(): string {
    return this.#client.url;
  }

  /** Ends it; the last report is sent if that is quick. */
  close(): void {
    this.#closed = true;
    this.#target?.stopFilling();
    this.#sync.close();
    this.#reporter.close();
    this.#log.close();
    this.#client.close();
    this.#wakeUp();
  }

  get #position(): FleetPosition | null {
    return this.#options.purgeLog.fleet;
  }

  async #join(): Promise<void> {
    const { joinToken, version, log } = this.#options;
    const known = this.#files.membership();
    if (known !== null && known.control === this.#client.url) {
      this.#node = known.node;
      this.#client.credential = known.credential;
      if (joinToken === null || !(await this.#isRefused())) {
        await this.#openBus(known);
        return;
      }
    }
    if (joinToken === null)
      throw new ProximaError(
        "fleet_not_joined",
        `this node has not joined the fleet of ${this.#client.url} yet: make a join token there and start with --join TOKEN`,
        { source: "node" },
      );
    const { node, credential, logKey } = await this.#client.join(joinToken, this.#name, version);
    this.#files.clear();
    const membership = { control: this.#client.url, node, credential, logKey };
    this.#files.setMembership(membership);
    this.#node = node;
    this.#client.credential = credential;
    await this.#openBus(membership);
    log("info", `joined the fleet of ${this.#client.url} as ${this.#name} (${node})`);
  }

  /** The log is read from the bus, if there is one: with the control plane's key, which was learned when the node joined. */
  async #openBus(membership: Membership): Promise<void> {
    const { bus, clock, log } = this.#options;
    if (bus === null) return;
    let { logKey } = membership;
    if (logKey === undefined) {
      ({ logKey } = await this.#client.head());
      if (logKey === undefined)
        throw new ProximaError(
          "fleet_log_key_missing",
          `${this.#log.name} signs no entries for a bus: it is older than this node, or was started without --nats`,
          { source: "node" },
        );
      this.#files.setMembership({ ...membership, logKey });
    }
    this.#log = new BusLog({ access: bus, key: logKey, clock, tell: (message) => log("warning", message) });
  }

  /** With a join token: is the node one that was removed, and joins anew? */
  async #isRefused(): Promise<boolean> {
    try {
      await this.#client.head();
    } catch (error) {
      return error instanceof ProximaError && error.code === "control_refuses";
    }
    this.#options.log("info", "this node has joined already; the join token is not used");
    return false;
  }

  /** Without a snapshot there is nothing to start with: a bus that is not fed yet is waited for. */
  async #firstCatchUp(): Promise<void> {
    const endMs = this.#options.clock.now() + START_MS_MAX;
    for (;;) {
      try {
        await this.#catchUp();
        return;
      } catch (error) {
        const isSoon = error instanceof ProximaError && error.code === "control_unreachable";
        if (!isSoon || this.#options.clock.now() > endMs) throw error;
      }
      await this.#pause(RETRY_MS_MIN);
    }
  }

  /** Takes everything that the log has, before the edge stands. */
  async #catchUp(): Promise<void> {
    const endMs = this.#options.clock.now() + START_MS_MAX;
    for (;;) {
      if (this.#options.clock.now() > endMs) throw new Error("catching up takes too long");
      const position = this.#position;
      const answer = position === null ? null : await this.#log.changes(position, 0);
      if (answer === null) {
        await this.#beginAnew((entries, at) => {
          this.#options.purgeLog.take(entries, at);
          return Promise.resolve();
        });
        continue;
      }
      if (answer.changes.length === 0) {
        // A place may have been noted by a process that ended before its snapshot was in force.
        const { snapshot, clock } = await this.#log.head();
        if (clock !== undefined) this.#setClock(clock);
        if (snapshot !== null) await this.#fetch(snapshot);
        return;
      }
      for (const step of this.#steps(answer)) {
        if (step.snapshot !== null) await this.#fetch(step.snapshot);
        if (step.clock !== null) this.#setClock(step.clock);
        this.#options.purgeLog.take(step.purges(this.#targets), step.position);
      }
    }
  }

  async #follow(): Promise<void> {
    const { log } = this.#options;
    let retryMs = RETRY_MS_MIN;
    while (!this.#closed) {
      try {
        await this.#followOnce();
        retryMs = RETRY_MS_MIN;
      } catch (error) {
        if (this.#closed) return;
        const isRefused = error instanceof ProximaError && error.code === "control_refuses";
        if (this.#sync.synced)
          log("warning", `${messageOf(error)}; serving goes on with snapshot ${this.#snapshot}`);
        this.#sync.set(false);
        await this.#pause(isRefused ? REFUSED_RETRY_MS : retryMs);
        retryMs = Math.min(RETRY_MS_MAX, retryMs * 2);
      }
    }
  }

  async #followOnce(): Promise<void> {
    const target = this.#mustTarget();
    if (this.#startedWithout) {
      // The place may have been noted by a process that ended before the snapshot there was in force.
      const { snapshot } = await this.#log.head();
      if (snapshot !== null) await this.#fetch(snapshot);
      this.#startedWithout = false;
    }
    if (this.#startedWith !== null) {
      await this.#watchRollouts(this.#startedWith);
      this.#startedWith = null;
    }
    await this.#applyNext();
    const position = this.#position;
    // The first request after a failure does not wait: it says that the control plane is back.
    const waitSeconds = this.#sync.synced || this.#log.isDoubtful ? POLL_SECONDS_MAX : 0;
    const askedMs = this.#options.clock.now();
    const answer = position === null ? null : await this.#log.changes(position, waitSeconds);
    if (answer === null) {
      await this.#beginAnew((entries, at) => target.takePurges(entries, at));
      return;
    }
    for (const step of this.#steps(answer)) {
      if (step.snapshot !== null) {
        await this.#fetch(step.snapshot);
        await this.#applyNext();
      }
      if (step.clock !== null) this.#setClock(step.clock);
      const purges = step.purges(this.#targets);
      await target.takePurges(purges, step.position);
      this.#applied = step.position.sequence;
      if (step.fills.length > 0) target.fill(step.fills);
      // A purge moves the edge itself.
      if (purges.at(-1)?.sequence !== this.#applied) this.#stand();
    }
    const isNews = answer.drained !== null && this.#setDrained(answer.drained);
    // An empty answer before its time: the control plane has something to ask.
    const isEarly = answer.changes.length === 0 && this.#options.clock.now() - askedMs < waitSeconds * 900;
    const isInStep = !this.#log.isDoubtful;
    if (isInStep && !this.#sync.synced) this.#options.log("info", `in step with ${this.#log.name}`);
    this.#sync.set(isInStep);
    // The next question to the control plane says how far this node is; a bus tells nobody.
    if (isNews || isEarly || (answer.changes.length > 0 && this.#options.bus !== null)) this.#reporter.now();
  }

  /** Takes an operator's wish; true when it is a new one. */
  #setDrained(drained: boolean): boolean {
    if (this.#drained === drained) return false;
    this.#drained = drained;
    this.#options.log(
      "info",
      drained ? "the control plane wants no viewers sent here" : "the control plane sends viewers here again",
    );
    return true;
  }

  /**
   * The node is of another log, or too far behind: what it holds can not be checked, so it is all forgotten,
   * and the node goes on from the newest entry and snapshot.
   */
  async #beginAnew(
    take: (entries: readonly LoggedPurge[], position: FleetPosition) => Promise<void>,
  ): Promise<void> {
    const { purgeLog, clock, log } = this.#options;
    const { log: id, sequence: head, digest, snapshot, clock: setting } = await this.#log.head();
    if (setting !== undefined) this.#setClock(setting);
    if (head <= purgeLog.newest)
      throw new ProximaError(
        "log_behind",
        `the log of ${this.#log.name} ends at ${head}, this node has seen ${purgeLog.newest}: an older copy of it was put back, and its clock is set back`,
        { source: "node" },
      );
    // Its number may have been given to another snapshot than the one in force.
    this.#snapshot = 0;
    if (snapshot !== null) await this.#fetch(snapshot);
    log("info", `the cache is emptied: the fleet's log begins anew for this node at ${head}`);
    const everything: LoggedPurge = {
      id: `anew-${id}-${head}`,
      sequence: head,
      site: EVERY_SITE,
      scope: "everything",
      targets: [],
      mode: "hard",
      acceptedMs: clock.now(),
    };
    await take([everything], { log: id, sequence: head, digest });
    this.#applied = head;
    this.#stand();
  }

  #steps(answer: LogAnswer): Step[] {
    return stepsOf(answer, (sequence, kind) =>
      this.#options.log(
        "warning",
        `entry ${sequence} of the fleet's log ("${kind}") is not understood by this version and left out`,
      ),
    );
  }

  /** Fetches a snapshot to be put in force next; nothing to do when it is, or when it is gone because there are newer ones. */
  async #fetch(number: number): Promise<void> {
    if (number === (this.#next?.answer.number ?? this.#snapshot)) return;
    const answer = await this.#log.snapshot(number);
    if (answer !== null) this.#next = await this.#read(answer);
  }

  async #read(answer: SnapshotAnswer): Promise<ReadSnapshot> {
    const read = await fleetSites(answer, this.#node, this.#options.config, this.#memory);
    this.#targets.remember(read.sites);
    return { answer, ...read };
  }

  /** Puts the snapshot in force that was read, and keeps it as the last known good one when that went well. */
  async #applyNext(): Promise<void> {
    const next = this.#next;
    if (next === null) return;
    const problem = await this.#mustTarget().applySites(next.sites);
    this.#next = null;
    if (problem === null) {
      this.#snapshot = next.answer.number;
      this.#files.setSnapshot(next.answer);
      await this.#watchRollouts(next);
    }
    this.#refused = problem === null ? null : next.answer.number;
    this.#setProblem(
      problem === null ? next.problem : `snapshot ${next.answer.number} is not in force: ${problem}`,
    );
    this.#reporter.now();
  }

  async #watchRollouts({ answer, rolloutProblems }: ReadSnapshot): Promise<void> {
    const stats = await this.#mustTarget().stats();
    this.#rollouts.follow(answer.staged ?? [], this.#node, rolloutProblems, stats);
    for (const problem of rolloutProblems.values())
      this.#options.log("error", `a new version is not in force here: ${problem}`);
  }

  #setClock({ offsetMs, frozenAtMs }: ClockSetting): void {
    const { setClock, log } = this.#options;
    if (setClock === null) log("warning", "the fleet's clock was moved; this node keeps its machine's time");
    else setClock({ offsetMs, frozenAtMs });
  }

  #setProblem(problem: string | null): void {
    this.#problem = problem === null ? null : problem.slice(0, PROBLEM_CHARS_MAX);
    if (problem !== null)
      this.#options.log("error", `snapshot ${this.#snapshot} of the control plane: ${problem}`);
  }

  /** Tells the edge where the node stands. */
  #stand(): void {
    this.#target?.setFleet({
      log: this.#position?.log ?? null,
      applied: this.#applied,
      unsynced: !this.#sync.synced,
      mustValidate: this.#sync.mustValidate,
    });
  }

  async #describe(): Promise<Omit<NodeReport, "counted">> {
    const target = this.#mustTarget();
    const stats = await target.stats();
    const ready = this.ready(target.ready());
    this.#rollouts.sample(stats);
    return {
      version: this.#options.version,
      snapshot: { number: this.#snapshot, problem: this.#problem, refused: this.#refused },
      applied: this.#applied,
      ready: {
        ready: ready.ready,
        reasons: ready.reasons.slice(0, 20).map((reason) => reason.slice(0, 500)),
      },
      load: {
        requests: stats.requests,
        requestsInFlight: stats.requestsInFlight,
        hitRatio: stats.hitRatio,
        storeBytes: stats.store.bytes,
        memoryBytes: stats.memory.residentBytes,
        uptimeSeconds: stats.uptimeSeconds,
      },
      rollouts: this.#rollouts.reports(stats),
      orphans: this.#orphans.answers(),
      originsOut: target.originsOut(REPORTED_ORIGINS_MAX),
    };
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(ms, resolve);
      this.#wakeUp = () => {
        cancel();
        resolve();
      };
      if (this.#closed) this.#wakeUp();
    });
  }

  #mustTarget(): FleetTarget {
    if (this.#target === null) throw new Error("the node does not run yet");
    return this.#target;
  }
}
