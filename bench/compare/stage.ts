/** Where a comparison happens: a folder, a certificate, an origin, and the cores. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeAuthority } from "../../test/kit/certificates.ts";
import { freePort, Processes, untilListening } from "./processes.ts";

/** The name in the certificate and in Host. */
export const HOST = "bench.test";
/** The core of the server that is measured. */
export const SERVER_CPU = "0";
/** The core of the load generator and of the origin. */
export const LOAD_CPU = "1";

/** Everything that peers and generators share. */
export interface Stage {
  readonly folder: string;
  readonly processes: Processes;
  /** PEM files for `HOST` and 127.0.0.1; `bundle` is certificate and key in one. */
  readonly tls: { readonly cert: string; readonly key: string; readonly bundle: string };
  readonly originPort: number;
  /** OpenSSL settings for generators: one cipher for all, so that no peer gains by its choice. */
  readonly opensslConf: string;
  /** How many requests the origin has had. */
  originRequests(): Promise<number>;
  /** Ends every process and removes the folder. */
  stop(): Promise<void>;
}

const MEMORY_FOLDER = "/dev/shm";
const OPENSSL_CONF = `openssl_conf = main
[main]
ssl_conf = ssl
[ssl]
system_default = one
[one]
Ciphersuites = TLS_AES_128_GCM_SHA256
`;

/** Sets the stage and starts the origin. */
export async function setStage(): Promise<Stage> {
  // In memory where that is: no peer is to wait for a disk that another one does not use.
  const folder = mkdtempSync(join(existsSync(MEMORY_FOLDER) ? MEMORY_FOLDER : tmpdir(), "proxima-compare-"));
  // A peer that will not run as root has to reach its own folder.
  chmodSync(folder, 0o711);
  const processes = new Processes();
  const stop = async (): Promise<void> => {
    await processes.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const file = (name: string, text: string): string => {
      const path = join(folder, name);
      writeFileSync(path, text);
      return path;
    };
    const { cert, key } = await (await makeAuthority()).issue([HOST, "127.0.0.1"]);
    const originPort = freePort();
    const program = new URL("origin-program.ts", import.meta.url).pathname;
    const origin = processes.start("origin", [process.execPath, program, String(originPort)], {
      cpus: LOAD_CPU,
    });
    await untilListening(originPort, origin);
    return {
      folder,
      processes,
      tls: {
        cert: file("cert.pem", cert),
        key: file("key.pem", key),
        bundle: file("bundle.pem", `${cert}\n${key}`),
      },
      originPort,
      opensslConf: file("openssl.cnf", OPENSSL_CONF),
      async originRequests() {
        const answer = await fetch(`http://127.0.0.1:${originPort}/_count`);
        const { requests } = (await answer.json()) as { requests: number };
        return requests;
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A folder of its own on the stage. */
export function makeFolder(stage: Stage, ...parts: string[]): string {
  const path = join(stage.folder, ...parts);
  mkdirSync(path, { recursive: true });
  return path;
}
