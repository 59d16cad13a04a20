/**
 * The next hops of a snapshot: one for each origin of each site, kept while its config does not change,
 * and one for each group. Their health is checked here where this process is the one that does so.
 */

import { assert, unreachable } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { memberName } from "../config/origins.ts";
import type { SitePlan, Snapshot } from "../config/plan.ts";
import type { OriginConfig, OriginGroupConfig } from "../config/schema.ts";
import type { GroupReport, OriginReports } from "../telemetry/origin-report.ts";
import { type Fault, Faults, FaultyHop } from "../upstream/faults.ts";
import type { OriginGroup } from "../upstream/group/origin-group.ts";
import { type CheckTarget, HealthChecker } from "../upstream/health/checker.ts";
import type { OriginEvent } from "../upstream/health/origin-event.ts";
import type { HopFinding } from "../upstream/health/watched-hop.ts";
import type { NextHop, UpstreamTimeouts } from "../upstream/next-hop.ts";
import {
  checkAuthority,
  checkPolicy,
  failingStatuses,
  type GuardedOrigin,
  guarded,
  makeGroup,
  originKey,
} from "./origin-hops.ts";
import { OriginMaker, type OriginPermissions } from "./origin-maker.ts";
import { reportGroup, reportOrigin } from "./origin-reports.ts";

/** A next hop with what the config says of it. */
export interface OriginHandle {
  readonly hop: NextHop;
  /** Null for a group: each of its members has its own. */
  readonly config: OriginConfig | null;
  readonly timeouts: UpstreamTimeouts;
  /** The longest that the head of an answer may take in all, queues and further attempts included, in milliseconds. */
  readonly headMsMax: number;
  /** The origin's own CA (PEM), if it has one. */
  readonly ca: string | null;
  /** May this address be connected to for this origin? */
  readonly allowAddress: (address: string) => boolean;
}

/** An origin itself, and no group. */
export interface OwnOrigin extends OriginHandle, GuardedOrigin {
  readonly hop: GuardedOrigin["hop"];
  readonly config: OriginConfig;
}

/** An origin as it is kept. */
interface KeptOrigin extends OwnOrigin {
  /** What it was made from: while that is the same it is kept from one snapshot to the next. */
  readonly source: string;
  /** How its health is checked; null where it is not. */
  readonly check: CheckTarget | null;
}

/** The hops of one site. */
interface SiteHops {
  readonly origins: Map<string, KeptOrigin>;
  readonly groups: Map<string, OriginHandle & { readonly hop: OriginGroup }>;
}

/** What origins need of the node around them. */
export interface OriginSurroundings {
  readonly clock: Clock;
  readonly permissions: OriginPermissions;
  /** The newest entry of the purge log that is applied. */
  readonly applied: () => number;
  /** Workers of the node, which share its limits. */
  readonly workers: number;
  /** Told what an operator has to know of an origin: a bucket that refuses this node. */
  readonly tell: (message: string) => void;
  /** Told of what this process finds out. */
  readonly onEvent: (event: OriginEvent) => void;
}

/** How much longer stored answers of a degraded origin are used, in milliseconds. */
export interface DegradedBounds {
  readonly freshMs: number;
  readonly staleMs: number;
}

const NOT_LONGER = { freshSeconds: 0, staleSeconds: 0 };

/** The origins in force. Made lazily: 10,000 sites must not open 10,000 of anything. */
export class Origins {
  readonly #clock: Clock;
  readonly #maker: OriginMaker;
  readonly #around: OriginSurroundings;
  readonly #faults: Faults;
  readonly #bySite = new Map<SitePlan, SiteHops>();
  #sites: ReadonlyMap<string, SitePlan> = new Map();
  #checker: HealthChecker | null = null;

  constructor(around: OriginSurroundings) {
    this.#clock = around.clock;
    this.#maker = new OriginMaker(around.clock, around.permissions, around.tell, around.applied);
    this.#around = around;
    this.#faults = new Faults(around.clock);
  }

  /** The origin or group of a site that has this name. */
  get(site: SitePlan, name: string): OriginHandle {
    const hops = this.#hopsOf(site);
    const known = hops.origins.get(name) ?? hops.groups.get(name);
    if (known !== undefined) return known;
    const config = site.originGroups.get(name);
    return config === undefined ? this.#origin(site, name) : this.#group(site, name, config, hops);
  }

  #group(site: SitePlan, name: string, config: OriginGroupConfig, hops: SiteHops): OriginHandle {
    const made = makeGroup(name, config, (member) => this.#origin(site, member), this.#clock);
    const group = { ...made, config: null, ca: null, allowAddress: () => false };
    hops.groups.set(name, group);
    return group;
  }

  /** The origin that a connection for `key` would be made to now: of a group, the member that is asked first. */
  concrete(site: SitePlan, name: string, key: string): OwnOrigin {
    this.get(site, name);
    const group = this.#hopsOf(site).groups.get(name);
    return this.#origin(site, group === undefined ? name : group.hop.first(key).hop.name);
  }

  /** Which member of a group would be asked for `key`, in words; null for an origin that is in no group's stead. */
  askedNow(site: SitePlan, name: string, key: string): string | null {
    const config = site.originGroups.get(name);
    if (config === undefined) return null;
    const nowMs = this.#clock.now();
    const first = this.concrete(site, name, key).hop.name;
    const down = config.members
      .map((member) => this.#origin(site, memberName(member)).hop)
      .filter(({ health }) => health.state(nowMs) === "down");
    const left = down.length === 0 ? "" : `; down: ${down.map((hop) => hop.name).join(", ")}`;
    return `${first} of ${name} (${config.balance})${left}`;
  }

  /** True for an origin whose content lies on this machine. */
  isLocal(site: SitePlan, name: string): boolean {
    const config = site.origins.get(name);
    return config !== undefined && "directory" in config;
  }

  /** Reads the CA files and secrets that a snapshot names, before it comes into force. Rejects with what is wrong with one. */
  async prepare(snapshot: Snapshot): Promise<void> {
    for (const site of snapshot.sites.values()) {
      const before = this.#sites.get(site.id)?.origins;
      for (const [name, config] of site.origins)
        await this.#maker.prepare(`site ${site.id}, origin ${name}`, config, before?.get(name));
    }
  }

  /**
   * Closes the origins that a new snapshot does not hold any more; exchanges in flight end by themselves. An
   * origin whose own config is the same goes on, with its connections and all that is known of it.
   */
  retain(snapshot: Snapshot): void {
    for (const [site, hops] of [...this.#bySite]) {
      const newer = snapshot.sites.get(site.id);
      if (newer === site) continue;
      this.#bySite.delete(site);
      for (const [name, origin] of hops.origins) {
        const config = newer?.origins.get(name);
        const isSame =
          config !== undefined &&
          newer !== undefined &&
          this.#sourceOf(newer, name, config) === origin.source;
        // A request that began under an older snapshot may have made the same origin once more.
        const kept = isSame ? this.#hopsOf(newer).origins : null;
        if (kept === null || kept.has(name)) origin.hop.close();
        else kept.set(name, origin);
      }
    }
    this.#sites = snapshot.sites;
    this.#updateChecks();
  }

  close(): void {
    this.checkHealth(false);
    for (const { origins } of this.#bySite.values()) for (const { hop } of origins.values()) hop.close();
    this.#bySite.clear();
  }

  /** Whether this process is the one of the node that checks the health of origins. */
  checkHealth(on: boolean): void {
    if (on === (this.#checker !== null)) return;
    this.#checker?.stop();
    this.#checker = !on
      ? null
      : new HealthChecker({
          clock: this.#clock,
          onVerdict: (key, verdict, reason, isFirst) => {
            const [site = "", origin = ""] = key.split(" ");
            const event = {
              kind: "checks",
              site,
              origin,
              atMs: this.#clock.now(),
              verdict,
              isFirst,
              reason,
            } as const;
            this.take(event);
            this.#around.onEvent(event);
          },
          onAnswer: (key, response) => {
            const [site = "", name = ""] = key.split(" ");
            this.#known(site, name)?.hop.heard(response);
          },
        });
    this.#updateChecks();
  }

  /** Takes what another process of the node found out. */
  take(event: OriginEvent): void {
    const origin = this.#known(event.site, event.origin);
    if (origin === null) return;
    const { health, degradation } = origin.hop;
    const nowMs = this.#clock.now();
    switch (event.kind) {
      case "checks":
        if (origin.check !== null && health.checked(event.verdict, event.reason, nowMs))
          origin.hop.wentDown();
        break;
      case "down":
        if (health.downElsewhere(event.untilMs, event.reason, nowMs)) origin.hop.wentDown();
        break;
      case "up":
        health.upElsewhere(nowMs);
        break;
      case "degraded":
        degradation.heardElsewhere(event.untilMs, nowMs);
        break;
      case "well":
        degradation.heardElsewhere(nowMs, nowMs);
        break;
      default:
        unreachable(event);
    }
  }

  /** How far what is stored of an origin, or of a member of a group that is used, is to be used for longer now; null: not at all. */
  degradedBounds(site: SitePlan, name: string, nowMs: number): DegradedBounds | null {
    const group = site.originGroups.get(name);
    const names = group === undefined ? [name] : group.members.map(memberName);
    const origins = this.#bySite.get(site)?.origins;
    for (const one of names) {
      const origin = origins?.get(one);
      if (origin === undefined || !origin.hop.degradation.is(nowMs)) continue;
      if (group !== undefined && origin.hop.health.state(nowMs) === "down") continue;
      const { freshSeconds, staleSeconds } = "url" in origin.config ? origin.config.degraded : NOT_LONGER;
      return { freshMs: freshSeconds * 1_000, staleMs: staleSeconds * 1_000 };
    }
    return null;
  }

  /** Puts a fault in front of an origin, or takes it away. */
  setFault(site: string, origin: string, fault: Fault | null): void {
    if (fault === null) this.#faults.clear(originKey(site, origin));
    else this.#faults.set(originKey(site, origin), fault);
  }

  /** What is known of each origin and group that was asked or checked. */
  reports(): OriginReports {
    const nowMs = this.#clock.now();
    const groups: GroupReport[] = [];
    const origins = [...this.#bySite].flatMap(([site, hops]) => {
      for (const { hop } of hops.groups.values()) groups.push(reportGroup(site, hop));
      return [...hops.origins.values()].map((origin) =>
        reportOrigin(
          site.id,
          origin,
          this.#checker?.last(originKey(site.id, origin.hop.name)) ?? null,
          nowMs,
        ),
      );
    });
    return { origins, groups };
  }

  #hopsOf(site: SitePlan): SiteHops {
    const known = this.#bySite.get(site);
    if (known !== undefined) return known;
    const made: SiteHops = { origins: new Map(), groups: new Map() };
    this.#bySite.set(site, made);
    return made;
  }

  /** The origin of a site in force; null when there is none of this name. */
  #known(site: string, name: string): KeptOrigin | null {
    const plan = this.#sites.get(site);
    return plan?.origins.has(name) === true ? this.#origin(plan, name) : null;
  }

  #origin(site: SitePlan, name: string): KeptOrigin {
    const { origins } = this.#hopsOf(site);
    const known = origins.get(name);
    if (known !== undefined) return known;
    const config = site.origins.get(name);
    assert(config !== undefined, `site ${site.id} has an origin ${name}`);
    const made = this.#maker.make(site.id, name, config);
    const guards = {
      clock: this.#clock,
      faults: this.#faults,
      workers: this.#around.workers,
      onFinding: (finding: HopFinding) =>
        this.#around.onEvent({ site: site.id, origin: name, atMs: this.#clock.now(), ...finding }),
    };
    const guard = guarded(site, config, made.hop, guards);
    const policy = checkPolicy(config);
    const kept: KeptOrigin = {
      ...made,
      ...guard,
      headMsMax:
        made.timeouts.connectMs +
        made.timeouts.firstByteMs +
        (("concurrency" in config ? config.concurrency?.waitMs : undefined) ?? 0),
      source: this.#sourceOf(site, name, config),
      check:
        policy === null
          ? null
          : {
              // Connections of their own, none of them kept: what is checked is that new ones are taken.
              hop: new FaultyHop(
                this.#maker.make(site.id, name, "url" in config ? { ...config, keepAliveMs: 0 } : config).hop,
                originKey(site.id, name),
                this.#faults,
                this.#clock,
              ),
              scheme: "url" in config && config.url.startsWith("https:") ? "https" : "http",
              authority: checkAuthority(site, config),
              policy,
              verdict: () => guard.hop.health.checks,
            },
    };
    origins.set(name, kept);
    return kept;
  }

  #updateChecks(): void {
    if (this.#checker === null) return;
    const targets = new Map<string, CheckTarget>();
    for (const site of this.#sites.values()) {
      for (const [name, config] of site.origins) {
        if (checkPolicy(config) === null) continue;
        const { check } = this.#origin(site, name);
        if (check !== null) targets.set(originKey(site.id, name), check);
      }
    }
    this.#checker.update(targets);
  }

  /** What an origin with what stands in front of it is made from. */
  #sourceOf(site: SitePlan, name: string, config: OriginConfig): string {
    return JSON.stringify([this.#maker.sourceOf(config), failingStatuses(site, name)]);
  }
}
