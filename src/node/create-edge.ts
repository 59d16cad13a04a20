/**
 * A listening edge: the data plane, its sockets, its certificates and its access log, put together
 * from a node's config. Certificates follow the config in force and the files it names.
 */
import { randomBytes } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { messageOf } from "../base/errors.ts";
import { type ListenAddress, parseListenAddress } from "../config/address.ts";
import type { Config } from "../config/schema.ts";
import { Edge as DataPlane } from "../edge/edge.ts";
import { type EdgeListeners, startListeners } from "../edge/listener/edge-listener.ts";
import type { OriginPermissions } from "../edge/origins.ts";
import { certificateNamesMax, ensureLocalCa, type LocalCa } from "../edge/tls/local-ca.ts";
import { loadTlsMaterial, type TlsMaterial } from "../edge/tls/material.ts";
import { addressSet, parseIp } from "../http/ip.ts";
import { AccessLog } from "../telemetry/access-log.ts";
import { renderMetrics } from "../telemetry/prometheus.ts";
import { isLoopback } from "./control-guard.ts";
import type { Purge } from "../cache/purge-table.ts";
import type { DataDir } from "./data-dir.ts";
import type { Edge } from "./edge-handle.ts";
import { formatAddress } from "./listen-error.ts";
import type { CreateEdge, EdgeSetup } from "./node.ts";

/** How often certificate files are looked at for a change, in milliseconds. */
const CERTIFICATE_CHECK_MS = 10_000;

/** Larger headers the runtime refuses by itself, in bytes. */
const RUNTIME_HEADER_BYTES_MAX = 16 * 1024;

/** Names every edge answers to on its own machine. */
const LOCAL_NAMES = ["localhost", "127.0.0.1", "::1"];

/** Makes an edge that listens, with its first snapshot in force. */
export const createEdge: CreateEdge = async (setup) => {
  const { config, dataDir, clock, log, version } = setup;
  const { listen } = config;
  const accessLog =
    config.accessLog === undefined
      ? null
      : new AccessLog({ sink: config.accessLog.file, clock, onProblem: (message) => log("error", `access log: ${message}`) });
  const https = listen.https === undefined ? null : listenAddress(listen.https);
  const localCa = https === null ? null : await ensureLocalCa(dataDir.path, clock);
  // Redirects to https name the port that was really bound, which is known after the sockets stand.
  const settings = {
    name: "Proxima",
    loopId: loopId(dataDir),
    trustedProxies: config.trustedProxies.length > 0 ? addressSet(config.trustedProxies) : null,
    headerCharsMax: config.limits.requestHeaderBytes < RUNTIME_HEADER_BYTES_MAX ? config.limits.requestHeaderBytes : null,
    requestBodyBytesMax: config.limits.requestBody,
    httpsPort: https?.port ?? null,
  };
  const plane = new DataPlane({
    clock,
    version,
    settings,
    permissions: permissionsOf(setup),
    memoryBytesMax: config.cache.memory,
    objectBytesMax: config.cache.objectMax,
    accessLog,
    onBug: (error) => log("error", `a request failed by a bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
  });
  try {
    const { snapshot } = await plane.apply(config);
    const certificates = https === null ? null : new Certificates(setup, localCa as LocalCa);
    const tls = certificates === null ? null : await certificates.first();
    const listeners = await startListeners({
      http: listen.http === undefined ? null : listenAddress(listen.http),
      https,
      http3: listen.http3 && https !== null && !listen.proxyProtocol,
      proxyProtocol: listen.proxyProtocol,
      proxyPeer: (address) => settings.trustedProxies?.has(address) === true,
      tls,
      handler: plane.handle,
      altSvc: () => true,
      requestBodyBytesMax: config.limits.requestBody,
      clock,
      onError: (error) => log("error", messageOf(error)),
    });
    settings.httpsPort = listeners.httpsAddress?.port ?? null;
    certificates?.watch(listeners);
    const edge = new ListeningEdge(plane, listeners, accessLog, certificates);
    return { edge, snapshot, caFile: config.listen.tls.certificates.length > 0 ? null : (localCa?.certFile ?? null) };
  } catch (error) {
    plane.close();
    await accessLog?.close();
    throw error;
  }
};

/** The edge as its node sees it. */
class ListeningEdge implements Edge {
  readonly addresses: Edge["addresses"];
  readonly #plane: DataPlane;
  readonly #listeners: EdgeListeners;
  readonly #log: AccessLog | null;
  readonly #certificates: Certificates | null;
  #draining = false;

  constructor(plane: DataPlane, listeners: EdgeListeners, log: AccessLog | null, certificates: Certificates | null) {
    this.#plane = plane;
    this.#listeners = listeners;
    this.#log = log;
    this.#certificates = certificates;
    const { httpAddress, httpsAddress, http3Active } = listeners;
    const https = httpsAddress === null ? null : formatAddress(httpsAddress);
    this.addresses = { http: httpAddress === null ? null : formatAddress(httpAddress), https, http3: http3Active ? https : null };
  }

  async apply(config: Config): Promise<{ readonly snapshot: number }> {
    // Certificates that can not be used make the whole config one that is not put in force.
    const change = await this.#certificates?.prepare(config);
    const applied = await this.#plane.apply(config);
    await change?.();
    return applied;
  }

  stats(): ReturnType<Edge["stats"]> {
    return this.#plane.stats();
  }

  metrics(): string {
    return renderMetrics(this.#plane.stats());
  }

  sites(): readonly string[] {
    return this.#plane.siteIds();
  }

  urlTarget(site: string, url: string): string | null {
    return this.#plane.urlTarget(site, url);
  }

  purge(purge: Purge): ReturnType<Edge["purge"]> {
    // Applied in this very call: what is looked up from now on is held against it.
    return { applied: Promise.resolve(), counted: this.#plane.purges.apply(purge) };
  }

  startPurgesAt(sequence: number): void {
    this.#plane.purges.startAt(sequence);
  }

  explain(...args: Parameters<Edge["explain"]>): ReturnType<Edge["explain"]> {
    return this.#plane.explain(...args);
  }

  ready(): ReturnType<Edge["ready"]> {
    return this.#draining ? { ready: false, reasons: ["the edge is draining"] } : { ready: true, reasons: [] };
  }

  async reopenLog(): Promise<void> {
    await this.#log?.reopen();
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    await this.#listeners.drain(deadlineMs);
  }

  async stop(): Promise<void> {
    this.#certificates?.close();
    this.#listeners.stop();
    this.#plane.close();
    await this.#log?.close();
  }
}

/** Certificates that were read, and what their files looked like before. */
interface ReadCertificates {
  readonly config: Config;
  readonly material: TlsMaterial;
  readonly stamp: string;
}

/** The certificates of the config in force; a change of config or of a file replaces them without losing a request. */
class Certificates {
  readonly #setup: EdgeSetup;
  readonly #localCa: LocalCa;
  #config: Config;
  #inForce = "";
  #stamp = "";
  #listeners: EdgeListeners | null = null;
  #cancelTimer: () => void = () => {};

  constructor(setup: EdgeSetup, localCa: LocalCa) {
    this.#setup = setup;
    this.#localCa = localCa;
    this.#config = setup.config;
  }

  /** The certificates to start with. Rejects when they can not be used. */
  async first(): Promise<TlsMaterial> {
    const read = await this.#read(this.#config);
    this.#accept(read);
    return read.material;
  }

  /** Reads what `config` names; rejects when it can not be used. The function returned puts it in force, and never rejects. */
  async prepare(config: Config): Promise<() => Promise<void>> {
    const read = await this.#read(config);
    return async () => {
      try {
        await this.#putInForce(read);
      } catch (error) {
        this.#setup.log("error", `the certificates of the new config are not in force: ${messageOf(error)}`);
      }
    };
  }

  /** Looks for changed files from time to time. */
  watch(listeners: EdgeListeners): void {
    this.#listeners = listeners;
    const again = (): void => {
      this.#cancelTimer = this.#setup.clock.after(CERTIFICATE_CHECK_MS, () => void this.#check().finally(again));
    };
    again();
  }

  close(): void {
    this.#listeners = null;
    this.#cancelTimer();
  }

  async #check(): Promise<void> {
    const config = this.#config;
    const stamp = fileStamp(config);
    if (stamp === this.#stamp) return;
    try {
      const read = await this.#read(config);
      // A newer config may have come while the files were read: it has read them itself.
      if (config !== this.#config || this.#listeners === null) return;
      const isNew = JSON.stringify(read.material) !== this.#inForce;
      await this.#putInForce(read);
      if (isNew) this.#setup.log("info", "new certificates are in force");
    } catch (error) {
      // Told once for each state of the files: a key that is still to come changes it.
      this.#stamp = stamp;
      this.#setup.log("error", `the certificates were not changed: ${messageOf(error)}`);
    }
  }

  async #read(config: Config): Promise<ReadCertificates> {
    const { clock, log } = this.#setup;
    // Before reading: a file that changes meanwhile is read again.
    const stamp = fileStamp(config);
    const names = [...LOCAL_NAMES, ...hostNames(config)];
    if (names.length > certificateNamesMax) {
      log("warning", `the local certificate names the first ${certificateNamesMax} of ${names.length} hosts; give the others certificates of their own`);
    }
    const loaded = await loadTlsMaterial({
      certificates: config.listen.tls.certificates.map((files) => ({ certFile: files.cert, keyFile: files.key, serverNames: files.serverNames })),
      minVersion: config.listen.tls.minVersion,
      localCa: this.#localCa,
      names: names.slice(0, certificateNamesMax),
      clock,
    });
    for (const warning of loaded.warnings) log("warning", warning);
    return { config, material: loaded.material, stamp };
  }

  async #putInForce(read: ReadCertificates): Promise<void> {
    const before = this.#inForce;
    this.#accept(read);
    if (this.#inForce !== before) await this.#listeners?.replaceTls(read.material);
  }

  #accept({ config, material, stamp }: ReadCertificates): void {
    this.#config = config;
    this.#stamp = stamp;
    this.#inForce = JSON.stringify(material);
  }
}

/** Host names of a config's sites, patterns with a wildcard included, "*" left out. */
function hostNames(config: Config): string[] {
  const names = new Set<string>();
  for (const site of Object.values(config.sites)) for (const host of site.hosts) if (host !== "*") names.add(host);
  return [...names];
}

/** What tells a changed certificate file from the one that was read. */
function fileStamp(config: Config): string {
  return config.listen.tls.certificates
    .flatMap(({ cert, key }) => [cert, key])
    .map((file) => {
      const found = statSync(file, { throwIfNoEntry: false });
      return found === undefined ? "gone" : `${found.ino}:${found.mtimeMs}:${found.size}`;
    })
    .join(" ");
}

/** What this node's origins may reach: never its own control listener (design, section 6). */
function permissionsOf(setup: EdgeSetup): OriginPermissions {
  const { permitted } = setup.config;
  const control = parseListenAddress(setup.config.listen.control);
  const ranges = permitted?.addresses === undefined ? null : addressSet(permitted.addresses);
  const roots = permitted?.directories;
  return {
    allowAddress(address, port) {
      // A connection to the unspecified address ends at this machine.
      const plain = parseIp(address)?.text ?? address;
      const unspecified = plain === "0.0.0.0" || plain === "::";
      const here = unspecified || isLoopback(plain) || plain === control?.hostname || isOwnAddress(plain);
      if (here && port === setup.controlPort()) return false;
      return ranges === null || ranges.has(address);
    },
    allowRoot: (path) => roots === undefined || roots.some((root) => path === root || path.startsWith(`${root.replace(/\/$/, "")}/`)),
    readFile: (path) => readFile(path, "utf8"),
  };
}

function isOwnAddress(address: string): boolean {
  return Object.values(networkInterfaces()).some((list) => list?.some((entry) => entry.address === address));
}

/** A listen address with a name for "every address": both families where the machine has IPv6. */
function listenAddress(text: string): ListenAddress {
  const parsed = parseListenAddress(text) as ListenAddress;
  if (parsed.hostname !== "") return parsed;
  const six = Object.values(networkInterfaces()).some((list) => list?.some(({ family }) => family === "IPv6"));
  return { hostname: six ? "::" : "0.0.0.0", port: parsed.port };
}

/** The token of this node in CDN-Loop (RFC 8586): made once, kept in the data directory. */
function loopId(dataDir: DataDir): string {
  const file = dataDir.file("loop-id");
  try {
    const known = readFileSync(file, "utf8").trim();
    if (/^proxima-[0-9a-f]{16}$/.test(known)) return known;
  } catch {
    // The first start: there is none yet.
  }
  const made = `proxima-${randomBytes(8).toString("hex")}`;
  writeFileSync(file, `${made}\n`, { mode: 0o600 });
  return made;
}
