/**
 * An origin group: origins that stand for one another, as one next hop. For each request its members are
 * put in order; those that are down are left out, unless all are. A request that is safe and has no body
 * is asked of the next member when one fails it; any other only when nothing of it can have been acted
 * on. What waits for a member that goes down meanwhile moves on at once.
 *
 * Moving on from a member that is known to be down costs nothing: the load only goes elsewhere. Anything
 * else is a retry and has to fit the group's budget, so that failures can not multiply the load.
 */
import type { Clock } from "../../base/clock.ts";
import type { WatchedHop } from "../health/watched-hop.ts";
import {
  type NextHop,
  UpstreamError,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamTimeouts,
} from "../next-hop.ts";
import { type Balance, Balancer, type Candidate } from "./balance.ts";
import { type Criteria, movesOn } from "./criteria.ts";
import { MovableRequest } from "./movable-request.ts";
import { type BudgetLimits, RetryBudget } from "./retry-budget.ts";
import { withSmallBodyWhole } from "./whole-body.ts";

/** An origin of a group. */
export interface GroupMember {
  readonly hop: WatchedHop;
  readonly weight: number;
  readonly timeouts: UpstreamTimeouts;
  /** What the Host field says to it, where the viewer asked for `authority`. */
  hostFor(authority: string): string;
}

/** What a group is made of. */
export interface GroupOptions {
  readonly name: string;
  /** The first is the primary where the order counts. */
  readonly members: readonly GroupMember[];
  readonly balance: Balance;
  readonly criteria: Criteria;
  /** How long a member may take until its answer begins while another one could be asked, in milliseconds. */
  readonly attemptMs: number;
  /** Members asked for one request. */
  readonly attemptsMax: number;
  readonly budget: BudgetLimits;
  readonly clock: Clock;
}

/** Counts since the start. */
export interface GroupCounts {
  readonly requests: number;
  /** Requests that were asked of another member after one had failed them. */
  readonly failovers: number;
  /** Of these, the ones that waited for a member when it went down. */
  readonly moved: number;
  /** Requests that another member was not asked for, because the budget was spent. */
  readonly retriesDenied: number;
}

/** A member as it stands when a request comes. */
interface Standing extends Candidate {
  readonly member: GroupMember;
}

/** Several origins as one next hop. */
export class OriginGroup implements NextHop {
  readonly name: string;
  readonly members: readonly GroupMember[];
  readonly #options: GroupOptions;
  readonly #balancer: Balancer;
  readonly #budget: RetryBudget;
  #requests = 0;
  #failovers = 0;
  #moved = 0;
  #retriesDenied = 0;

  constructor(options: GroupOptions) {
    this.name = options.name;
    this.members = options.members;
    this.#options = options;
    this.#balancer = new Balancer(options.balance);
    this.#budget = new RetryBudget(options.budget);
  }

  counts(): GroupCounts {
    return {
      requests: this.#requests,
      failovers: this.#failovers,
      moved: this.#moved,
      retriesDenied: this.#retriesDenied,
    };
  }

  /** The member that a request for `key` would be asked of now. */
  first(key: string): GroupMember {
    return this.#line(key, false)[0] as GroupMember;
  }

  /**
   * Asks the members. `request.authority` is the viewer's: each member makes its own of it; the limits
   * are the members' own. Rejects with the error of the last one that was asked.
   */
  async fetch(request: UpstreamRequest, _timeouts?: UpstreamTimeouts): Promise<UpstreamResponse> {
    const attempt = new MovableRequest(request);
    this.#requests++;
    this.#budget.deposit(this.#options.clock.now());
    const line = this.#line(`${request.authority} ${request.target}`, attempt.isSafe);
    /** The last answer that was not good enough: better than none. */
    let held: UpstreamResponse | null = null;
    let last: GroupMember | null = null;
    for (;;) {
      const member = line.shift();
      if (member === undefined)
        throw new UpstreamError("proxy_internal_error", `group ${this.name} is empty`);
      if (last !== null) this.#failovers++;
      last = member;
      let response: UpstreamResponse | null = null;
      let failure: unknown = null;
      try {
        response = await this.#ask(member, request, attempt, line);
      } catch (error) {
        failure = error;
      }
      const isPoor =
        response === null
          ? failure === MOVED || (movesOn(this.#options.criteria, failure) && attempt.mayMove(failure))
          : attempt.isSafe && this.#options.criteria.statuses.has(response.status);
      if (isPoor && this.#mayGoOn(member, line, attempt)) {
        if (response === null) continue;
        held?.body?.cancel();
        held = { ...response, answeredBy: member.hop.name };
        continue;
      }
      if (response !== null) {
        held?.body?.cancel();
        return { ...response, answeredBy: member.hop.name };
      }
      if (held !== null && request.signal?.aborted !== true) return held;
      held?.body?.cancel();
      throw failure;
    }
  }

  /** Members are closed by whoever made them: they may be in other groups. */
  close(): void {}

  /** The members in the order in which they are to be asked: those that are down at the end. */
  #line(key: string, isSafe: boolean): GroupMember[] {
    const nowMs = this.#options.clock.now();
    const open: Standing[] = [];
    const closed: Standing[] = [];
    for (const member of this.#options.members) {
      const { hop, weight } = member;
      const admits = hop.health.admits(nowMs);
      const isOpen = admits === true || (admits === "trial" && isSafe);
      (isOpen ? open : closed).push({ member, name: hop.name, weight, inFlight: hop.inFlight });
    }
    const order = [...this.#balancer.order(open, key), ...this.#balancer.order(closed, key)];
    return order.slice(0, this.#options.attemptsMax).map(({ member }) => member);
  }

  /** After `failed`, may the next in line be asked? */
  #mayGoOn(failed: GroupMember, line: GroupMember[], attempt: MovableRequest): boolean {
    if (attempt.isGivenUp || line.length === 0) return false;
    const nowMs = this.#options.clock.now();
    const next = line.findIndex(({ hop }) => hop.health.admits(nowMs) === true);
    // Who has come up or gone down since the line was made is put in its place.
    if (next > 0) line.unshift(...line.splice(next, 1));
    if (next >= 0 && failed.hop.health.state(nowMs) !== "up") return true;
    if (this.#budget.withdraw(nowMs)) return true;
    this.#retriesDenied++;
    return false;
  }

  async #ask(
    member: GroupMember,
    request: UpstreamRequest,
    attempt: MovableRequest,
    others: readonly GroupMember[],
  ): Promise<UpstreamResponse> {
    const { attemptMs, clock } = this.#options;
    const controller = new AbortController();
    const unlink = attempt.link(controller);
    const isOpen = () => others.some(({ hop }) => hop.health.admits(clock.now()) === true);
    let isMoved = false;
    const forget = attempt.isSafe
      ? member.hop.onDown(controller.signal, () => {
          if (!isOpen()) return;
          isMoved = true;
          controller.abort();
        })
      : () => {};
    const { timeouts } = member;
    const limited: UpstreamTimeouts =
      attempt.isSafe && isOpen()
        ? {
            connectMs: Math.min(timeouts.connectMs, attemptMs),
            firstByteMs: Math.min(timeouts.firstByteMs, attemptMs),
            betweenBytesMs: timeouts.betweenBytesMs,
          }
        : timeouts;
    try {
      const response = await member.hop.fetch(
        {
          ...request,
          authority: member.hostFor(request.authority),
          body: attempt.body,
          signal: controller.signal,
        },
        limited,
      );
      return attempt.isSafe && others.length > 0 ? await withSmallBodyWhole(response, clock) : response;
    } catch (error) {
      unlink();
      if (!isMoved) throw error;
      this.#moved++;
      throw MOVED;
    } finally {
      forget();
    }
  }
}

/** Thrown where a request was taken away from a member that went down: not an error of anything. */
const MOVED = new UpstreamError("http_request_error", "the request moved on to another member of its group");
