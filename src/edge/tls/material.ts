/**
 * What a TLS listener needs: one certificate for viewers that name no known server, and one for each
 * server name. Given files are read and checked before anything listens, so that a wrong file is a
 * sentence at the start and not a failed handshake later. Names without a file get a certificate of the
 * local authority. A wildcard name stands for exactly one label, as the runtime matches it.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import type { Clock } from "../../base/clock.ts";
import { messageOf, ProximaError } from "../../base/errors.ts";
import type { IssuedCertificate, LocalCa } from "./local-ca.ts";
import { pemBlocks } from "./pem-file.ts";

/** Certificates of a TLS listener, PEM. */
export interface TlsMaterial {
  readonly default: { readonly cert: string; readonly key: string };
  readonly named: readonly { readonly serverName: string; readonly cert: string; readonly key: string }[];
  readonly minVersion: "1.2" | "1.3";
}

/** A certificate in files. */
export interface CertificateFiles {
  /** PEM: the certificate, then its chain. */
  readonly certFile: string;
  /** PEM: the key, without a passphrase. */
  readonly keyFile: string;
  /** Names it is used for; those in the certificate when left out. */
  readonly serverNames?: readonly string[] | undefined;
}

/** Where certificates come from. */
export interface TlsSources {
  readonly certificates: readonly CertificateFiles[];
  readonly minVersion: "1.2" | "1.3";
  /** Signs for `names` that no file covers; null when files alone are to be used. */
  readonly localCa: LocalCa | null;
  /** Host names and addresses that viewers use. */
  readonly names: readonly string[];
  readonly clock: Clock;
}

/** Material, and what an operator should hear about it. */
export interface LoadedTls {
  readonly material: TlsMaterial;
  readonly warnings: readonly string[];
  /** When the certificates in files end. */
  readonly ends: readonly CertificateEnd[];
}

/** When a certificate in a file ends. */
export interface CertificateEnd {
  readonly file: string;
  /** Names it is used for. */
  readonly names: readonly string[];
  /** Milliseconds since the epoch. */
  readonly endsAtMs: number;
}

/** A certificate ending within this time is warned about, in milliseconds. */
const warnBeforeMs = 14 * 86_400_000;

/** Reads and checks everything. Rejects with a ProximaError "certificate_unusable" that names the file. */
export async function loadTlsMaterial(sources: TlsSources): Promise<LoadedTls> {
  const { localCa, clock, minVersion } = sources;
  const warnings: string[] = [];
  const ends: CertificateEnd[] = [];
  const named = new Map<string, IssuedCertificate>();
  let first: IssuedCertificate | null = null;
  for (const files of sources.certificates) {
    const loaded = await loadFiles(files, clock);
    warnings.push(...loaded.warnings);
    first ??= loaded.pair;
    ends.push({ file: files.certFile, names: loaded.serverNames, endsAtMs: loaded.endsAtMs });
    for (const name of loaded.serverNames) {
      if (named.has(name))
        warnings.push(`${files.certFile}: ${name} has an earlier certificate, which is used`);
      else named.set(name, loaded.pair);
    }
  }
  const uncovered = sources.names.filter((name) => !isCovered(name, named));
  if (localCa !== null && (uncovered.length > 0 || first === null)) {
    const local = await localCa.issue(uncovered.length > 0 ? uncovered : ["localhost"]);
    for (const name of uncovered) if (isIP(name) === 0) named.set(name.toLowerCase(), local);
    first ??= local;
  }
  if (first === null) {
    throw new ProximaError(
      "certificate_unusable",
      "there is no certificate: name a file or use the local authority",
      {
        source: "node",
      },
    );
  }
  const entries = [...named].map(([serverName, pair]) => ({ serverName, ...pair }));
  return { material: { default: first, named: entries, minVersion }, warnings, ends };
}

interface LoadedFiles {
  readonly pair: IssuedCertificate;
  readonly serverNames: readonly string[];
  readonly endsAtMs: number;
  readonly warnings: readonly string[];
}

async function loadFiles(files: CertificateFiles, clock: Clock): Promise<LoadedFiles> {
  const { certFile, keyFile } = files;
  const cert = await read(certFile);
  const key = await read(keyFile);
  const leaf = pemBlocks(cert, "CERTIFICATE")[0];
  if (leaf === undefined) throw unusable(certFile, "it holds no PEM certificate");
  const certificate = parsed(certFile, () => new X509Certificate(leaf));
  const privateKey = parsed(keyFile, () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey)) {
    throw unusable(keyFile, `it is not the key of the certificate in ${certFile}`);
  }
  const serverNames = files.serverNames?.map((name) => name.toLowerCase()) ?? dnsNames(certificate);
  const warnings: string[] = [];
  const endsAtMs = Date.parse(certificate.validTo);
  const leftMs = endsAtMs - clock.now();
  if (leftMs <= 0) warnings.push(`${certFile}: the certificate ended on ${certificate.validTo}`);
  else if (leftMs < warnBeforeMs)
    warnings.push(`${certFile}: the certificate ends on ${certificate.validTo}`);
  if (Date.parse(certificate.validFrom) > clock.now()) {
    warnings.push(`${certFile}: the certificate is not valid before ${certificate.validFrom}`);
  }
  if (serverNames.length === 0) {
    warnings.push(
      `${certFile}: the certificate has no DNS name, so only viewers without a known name get it`,
    );
  }
  return { pair: { cert, key }, serverNames, endsAtMs, warnings };
}

/** DNS names of the alternative names (RFC 9525 section 2: the subject does not count). */
function dnsNames(certificate: X509Certificate): string[] {
  return (certificate.subjectAltName ?? "")
    .split(", ")
    .filter((entry) => entry.startsWith("DNS:"))
    .map((entry) => entry.slice(4).toLowerCase());
}

/** True when a certificate in a file answers for the name; a wildcard covers exactly one label. */
function isCovered(name: string, named: ReadonlyMap<string, unknown>): boolean {
  const lower = name.toLowerCase();
  return named.has(lower) || named.has(lower.replace(/^[^.]+\./, "*."));
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw unusable(file, messageOf(error), error);
  }
}

function parsed<T>(file: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw unusable(file, `it is not a readable PEM file: ${messageOf(error)}`, error);
  }
}

function unusable(file: string, why: string, cause?: unknown): ProximaError {
  return new ProximaError("certificate_unusable", `the file ${file} can not be used for TLS: ${why}`, {
    source: "node",
    cause,
  });
}
