/** The origin of `proxima dev`: an http(s) URL, a directory of files, or the built-in demo site. */
import { statSync } from "node:fs";
import { connect } from "node:net";
import { resolve } from "node:path";
import { quoted } from "../config/problems.ts";
import { UsageError } from "./failure.ts";

/** What stands behind the edge. */
export type DevOrigin =
  | { readonly kind: "demo" }
  | { readonly kind: "url"; readonly url: string }
  | { readonly kind: "directory"; readonly path: string };

const REACH_TIMEOUT_MS = 1_000;

/** Reads the argument of `dev`. Throws a UsageError that says what is allowed. */
export function readOrigin(argument: string | undefined): DevOrigin {
  if (argument === undefined) return { kind: "demo" };
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(argument)) return readUrl(argument);
  if (isDirectory(argument)) return { kind: "directory", path: resolve(argument) };
  throw new UsageError(
    `origin ${quoted(argument)} is neither a URL beginning with http:// or https:// nor a directory${hint(argument)}`,
  );
}

function readUrl(text: string): DevOrigin {
  const shown = quoted(text);
  const url = URL.parse(text);
  if (url === null)
    throw new UsageError(`origin ${shown} is not a readable URL; write http://host[:port][/prefix]`);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new UsageError(`origin ${shown} must begin with http:// or https://`);
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw new UsageError(
      `origin ${shown} must have no user, query or fragment; write http://host[:port][/prefix]`,
    );
  }
  return { kind: "url", url: text };
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** "localhost:3000" and "shop.example" are what people type. */
function hint(argument: string): string {
  const looksLikeHost =
    /^(?:localhost|[\w.-]+\.[a-z]{2,}|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:]+\])(?::\d{1,5})?(?:\/\S*)?$/i;
  const host = /^\d{2,5}$/.test(argument) ? `127.0.0.1:${argument}` : argument;
  return looksLikeHost.test(host) ? `; did you mean http://${host} ?` : "";
}

/** Null when something listens at the URL's host and port, else why not. Asks for nothing and sends nothing. */
export function whyUnreachable(text: string): Promise<string | null> {
  const url = new URL(text);
  const port = Number(url.port) || (url.protocol === "https:" ? 443 : 80);
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return new Promise((settle) => {
    const socket = connect({ host, port });
    const end = (why: string | null) => {
      socket.destroy();
      settle(why);
    };
    socket.setTimeout(REACH_TIMEOUT_MS, () => end("no answer within a second"));
    socket.once("connect", () => end(null));
    socket.once("error", (error) =>
      end("code" in error && error.code === "ECONNREFUSED" ? "connection refused" : error.message),
    );
  });
}
