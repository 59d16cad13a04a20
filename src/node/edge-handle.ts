/** What a node asks of its data plane; the node knows no more of the edge than this. */
import type { Config, SiteConfig } from "../config/schema.ts";
import type { Explanation } from "../edge/explanation.ts";
import type { OrphanCount } from "../edge/orphans.ts";
import type { FleetStanding } from "../edge/settings.ts";
import type { CertificateEnd } from "../edge/tls/material.ts";
import type { StatsSnapshot } from "../telemetry/stats.ts";
import type { Fault } from "../upstream/faults.ts";
import type { PurgeTarget } from "./purge-service.ts";

/** Addresses that an edge listens on, as host and port with the port really bound; null when off. */
export interface EdgeAddresses {
  readonly http: string | null;
  readonly https: string | null;
  /** UDP; the same port as https. */
  readonly http3: string | null;
}

/** Whether an edge can take requests; the reasons say why not. */
export interface Readiness {
  readonly ready: boolean;
  readonly reasons: readonly string[];
}

/** A request to explain. */
export interface ExplainOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A running data plane. */
export interface Edge extends PurgeTarget {
  readonly addresses: EdgeAddresses;
  /** Compiles the config into the next snapshot and puts it in force. On a rejection the old one stays. */
  apply(config: Config): Promise<{ readonly snapshot: number }>;
  stats(): StatsSnapshot | Promise<StatsSnapshot>;
  /** The metrics page (Prometheus text format). */
  metrics(): string | Promise<string>;
  explain(url: string, options: ExplainOptions): Explanation | Promise<Explanation>;
  ready(): Readiness;
  /** Says where the node stands in its fleet's log, after what it has applied. */
  setFleet(standing: FleetStanding): void;
  /** What of a site's stored responses another config of it would never find. */
  orphans(site: string, config: SiteConfig): Promise<OrphanCount[]>;
  /** When the certificate files in force end. */
  certificates(): readonly CertificateEnd[];
  /** Puts a fault in front of an origin in every process that asks it, or takes it away. */
  setFault(site: string, origin: string, fault: Fault | null): Promise<void>;
  /** Opens the access log anew, after a rotation. */
  reopenLog(): Promise<void>;
  /** Takes no new connection, withdraws Alt-Svc and waits until requests in flight ended, `deadlineMs` at most. */
  drain(deadlineMs: number): Promise<void>;
  /** Ends everything at once. */
  stop(): Promise<void>;
}
