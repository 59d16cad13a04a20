/** The certificates of a node: those of the config in force and the files it names, or one of the local CA. */
import { statSync } from "node:fs";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Config } from "../config/schema.ts";
import { certificateNamesMax, type LocalCa } from "../edge/tls/local-ca.ts";
import { type CertificateEnd, loadTlsMaterial, type TlsMaterial } from "../edge/tls/material.ts";
import type { NodeLog } from "../service/log.ts";

/** How often certificate files are looked at for a change, in milliseconds. */
const CERTIFICATE_CHECK_MS = 10_000;

/** How often the local CA is asked whether its certificate has to be renewed, in milliseconds. */
const CERTIFICATE_RENEW_MS = 86_400_000;

/** Names every edge answers to on its own machine. */
const LOCAL_NAMES = ["localhost", "127.0.0.1", "::1"];

/** What certificates need of their node. */
export interface CertificateSetup {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: NodeLog;
}

/** Who is given new certificates: the listeners, or the workers that have them. */
export interface TlsUser {
  replaceTls(tls: TlsMaterial): Promise<void>;
}

/** Certificates that were read, and what their files looked like before. */
interface ReadCertificates {
  readonly config: Config;
  readonly material: TlsMaterial;
  readonly ends: readonly CertificateEnd[];
  readonly stamp: string;
}

/** The certificates of the config in force; a change of config or of a file replaces them without losing a request. */
export class Certificates {
  readonly #setup: CertificateSetup;
  readonly #localCa: LocalCa;
  #config: Config;
  #inForce = "";
  #ends: readonly CertificateEnd[] = [];
  #stamp = "";
  #listeners: TlsUser | null = null;
  #cancelTimer: () => void = () => {};
  #renewAtMs: number;

  constructor(setup: CertificateSetup, localCa: LocalCa) {
    this.#renewAtMs = setup.clock.now() + CERTIFICATE_RENEW_MS;
    this.#setup = setup;
    this.#localCa = localCa;
    this.#config = setup.config;
  }

  /** When the certificate files in force end. */
  get ends(): readonly CertificateEnd[] {
    return this.#ends;
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
  watch(listeners: TlsUser): void {
    this.#listeners = listeners;
    const again = (): void => {
      this.#cancelTimer = this.#setup.clock.after(
        CERTIFICATE_CHECK_MS,
        () => void this.#check().finally(again),
      );
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
    const nowMs = this.#setup.clock.now();
    if (stamp === this.#stamp && nowMs < this.#renewAtMs) return;
    this.#renewAtMs = nowMs + CERTIFICATE_RENEW_MS;
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
      log(
        "warning",
        `the local certificate names the first ${certificateNamesMax} of ${names.length} hosts; give the others certificates of their own`,
      );
    }
    const loaded = await loadTlsMaterial({
      certificates: config.listen.tls.certificates.map((files) => ({
        certFile: files.cert,
        keyFile: files.key,
        serverNames: files.serverNames,
      })),
      minVersion: config.listen.tls.minVersion,
      localCa: this.#localCa,
      names: names.slice(0, certificateNamesMax),
      clock,
    });
    for (const warning of loaded.warnings) log("warning", warning);
    return { config, material: loaded.material, ends: loaded.ends, stamp };
  }

  async #putInForce(read: ReadCertificates): Promise<void> {
    const before = this.#inForce;
    this.#accept(read);
    if (this.#inForce !== before) await this.#listeners?.replaceTls(read.material);
  }

  #accept({ config, material, ends, stamp }: ReadCertificates): void {
    this.#ends = ends;
    this.#config = config;
    this.#stamp = stamp;
    this.#inForce = JSON.stringify(material);
  }
}

/** Host names of a config's sites, patterns with a wildcard included, "*" left out. */
function hostNames(config: Config): string[] {
  const names = new Set<string>();
  for (const site of Object.values(config.sites))
    for (const host of site.hosts) if (host !== "*") names.add(host);
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
