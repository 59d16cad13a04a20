/** The next hops of a snapshot: one for each origin of each site, kept while its config does not change. */

import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf, ProximaError } from "../base/errors.ts";
import type { SitePlan, Snapshot } from "../config/plan.ts";
import { type BucketConfig, isBucket, type OriginConfig } from "../config/schema.ts";
import { BucketOrigin } from "../upstream/bucket/bucket-origin.ts";
import type { ReadSecret } from "../upstream/bucket/credentials.ts";
import { bucketService, storeUrl } from "../upstream/bucket/from-config.ts";
import type { BucketService } from "../upstream/bucket/service.ts";
import { DirectoryOrigin } from "../upstream/directory.ts";
import type { NextHop, UpstreamTimeouts } from "../upstream/next-hop.ts";
import { HttpOrigin } from "../upstream/origin.ts";

/** A next hop with what the config says of it. */
export interface OriginHandle {
  readonly hop: NextHop;
  readonly config: OriginConfig;
  readonly timeouts: UpstreamTimeouts;
  /** The origin's own CA (PEM), if it has one. */
  readonly ca: string | null;
  /** May this address be connected to for this origin? */
  readonly allowAddress: (address: string) => boolean;
}

/** What the node allows its origins. */
export interface OriginPermissions {
  /** May an origin at this resolved address and port be connected to? */
  readonly allowAddress: (address: string, port: number) => boolean;
  readonly allowRoot: (realPath: string) => boolean;
  /** Reads a CA file named in the config. */
  readonly readFile: (path: string) => Promise<string>;
  /** Reads a secret that a site's config points at. */
  readonly readSecret: ReadSecret;
}

/** An origin that is asked over the network. */
type ServerConfig = Exclude<OriginConfig, { readonly directory: string }>;

const NO_TIMEOUTS: UpstreamTimeouts = { connectMs: 5_000, firstByteMs: 30_000, betweenBytesMs: 30_000 };

/** The origins in force. Made lazily: 10,000 sites must not open 10,000 of anything. */
export class Origins {
  readonly #clock: Clock;
  readonly #permissions: OriginPermissions;
  readonly #bySite = new Map<SitePlan, Map<string, OriginHandle>>();
  readonly #authorities = new Map<string, string>();
  readonly #buckets = new WeakMap<OriginConfig, BucketService>();
  readonly #tell: (message: string) => void;

  /** `tell` gets what an operator has to know of an origin: a bucket that refuses this node. */
  constructor(clock: Clock, permissions: OriginPermissions, tell: (message: string) => void) {
    this.#clock = clock;
    this.#permissions = permissions;
    this.#tell = tell;
  }

  /** The named origin of a site. */
  get(site: SitePlan, name: string): OriginHandle {
    const handles = this.#bySite.get(site);
    const known = handles?.get(name);
    if (known !== undefined) return known;
    const config = site.origins.get(name);
    assert(config !== undefined, `site ${site.id} has an origin ${name}`);
    const made = this.#make(name, config);
    if (handles === undefined) this.#bySite.set(site, new Map([[name, made]]));
    else handles.set(name, made);
    return made;
  }

  /** True for an origin whose content lies on this machine. */
  isLocal(site: SitePlan, name: string): boolean {
    const config = site.origins.get(name);
    return config !== undefined && "directory" in config;
  }

  /** Reads the CA files and secrets that a snapshot names, before it comes into force. Rejects with what is wrong with one. */
  async prepare(snapshot: Snapshot): Promise<void> {
    for (const site of snapshot.sites.values()) {
      for (const [name, config] of site.origins) {
        if ("directory" in config) continue;
        const caFile = config.tls.caFile;
        if (caFile !== undefined) this.#authorities.set(caFile, await this.#permissions.readFile(caFile));
        if (isBucket(config)) await this.#prepareBucket(`site ${site.id}, origin ${name}`, config);
      }
    }
  }

  /** Closes the origins of sites that a new snapshot does not hold any more; exchanges in flight end by themselves. */
  retain(snapshot: Snapshot): void {
    for (const [site, handles] of this.#bySite) {
      if (snapshot.sites.get(site.id) === site) continue;
      for (const { hop } of handles.values()) hop.close();
      this.#bySite.delete(site);
    }
  }

  close(): void {
    for (const handles of this.#bySite.values()) for (const { hop } of handles.values()) hop.close();
    this.#bySite.clear();
  }

  #make(name: string, config: OriginConfig): OriginHandle {
    if ("directory" in config) {
      const hop = new DirectoryOrigin({
        name,
        root: config.directory,
        index: config.index,
        clock: this.#clock,
        allowRoot: this.#permissions.allowRoot,
      });
      return { hop, config, timeouts: NO_TIMEOUTS, ca: null, allowAddress: () => false };
    }
    if (!isBucket(config)) return this.#makeServer(name, config, config.url);
    const service = this.#buckets.get(config);
    assert(service !== undefined, `the bucket of origin ${name} is prepared`);
    // The bucket and its path are the signature's matter: the server is asked as it stands.
    const server = this.#makeServer(name, config, new URL(storeUrl(config)).origin);
    const { index, errorDocument, keyPrefix, deniedAsMissing, metadata } = config;
    const hop = new BucketOrigin({
      name,
      service,
      server: server.hop,
      clock: this.#clock,
      keys: { prefix: keyPrefix?.replace(/\/?$/, "/") ?? "", index: index ?? null },
      errorDocument: errorDocument ?? null,
      deniedAsMissing,
      metadata,
      tell: this.#tell,
    });
    return { ...server, hop };
  }

  /** Reads a bucket's credentials: for the first time, or again where its config is known. */
  async #prepareBucket(place: string, config: BucketConfig): Promise<void> {
    const known = this.#buckets.get(config);
    try {
      if (known !== undefined) await known.reload();
      else this.#buckets.set(config, await bucketService(config, this.#permissions.readSecret, this.#clock));
    } catch (cause) {
      throw new ProximaError("credentials_unusable", `${place}: ${messageOf(cause)}`, {
        source: "node",
        cause,
      });
    }
  }

  #makeServer(name: string, config: ServerConfig, serverUrl: string): OriginHandle {
    const url = new URL(serverUrl);
    const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
    const ca = config.tls.caFile === undefined ? undefined : this.#authorities.get(config.tls.caFile);
    const allowAddress = (address: string): boolean => this.#permissions.allowAddress(address, port);
    const hop = new HttpOrigin({
      name,
      url: serverUrl,
      clock: this.#clock,
      tls: {
        verify: config.tls.verify,
        ...(ca === undefined ? {} : { ca }),
        ...(config.tls.serverName === undefined ? {} : { serverName: config.tls.serverName }),
      },
      keepAliveMs: config.keepAliveMs,
      connectionsMax: config.connectionsMax,
      allowAddress,
    });
    return { hop, config, timeouts: config.timeouts, ca: ca ?? null, allowAddress };
  }
}
