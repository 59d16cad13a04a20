/**
 * What a store says when it refuses: a small XML document, `<Error><Code>..</Code><Message>..</Message>`,
 * the same in S3, Google Cloud Storage and Azure but for its details. Only the text of a few elements is
 * wanted, from a sender that is not trusted, so they are cut out; nothing of it is ever shown to a viewer.
 */
import type { BodyReader } from "../../http/body.ts";
import { ERROR_BODY_BYTES_MAX, SHOWN_CHARS_MAX } from "./limits.ts";

/** The elements that are read; null where one is not there. */
export interface ErrorBody {
  readonly code: string | null;
  readonly message: string | null;
  /** The region that the bucket is in. */
  readonly region: string | null;
  /** The host that the bucket is reached at. */
  readonly endpoint: string | null;
  /** The store's own time. */
  readonly serverTime: string | null;
  /** Size of an object of which a range was asked that it does not have, in bytes. */
  readonly objectSize: string | null;
  /** Azure: why a signature was not taken. */
  readonly detail: string | null;
}

/** Cuts the elements out of a document. Never throws. */
export function parseErrorBody(document: string): ErrorBody {
  return {
    code: elementOf(document, "Code"),
    message: elementOf(document, "Message"),
    region: elementOf(document, "Region"),
    endpoint: elementOf(document, "Endpoint"),
    serverTime: elementOf(document, "ServerTime"),
    objectSize: elementOf(document, "ActualObjectSize"),
    detail: elementOf(document, "AuthenticationErrorDetail"),
  };
}

/** Reads a body as far as it may be an error's; what fails or is too long on the way ends it there. */
export async function readErrorBody(body: BodyReader | null): Promise<ErrorBody> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  try {
    for (let piece = await body?.read(); piece; piece = await body?.read()) {
      text += decoder.decode(piece.subarray(0, ERROR_BODY_BYTES_MAX - bytes), { stream: true });
      bytes += piece.byteLength;
      if (bytes >= ERROR_BODY_BYTES_MAX) break;
    }
  } catch {
    // The status says enough to answer; the code was only to say why.
  }
  body?.cancel();
  return parseErrorBody(text);
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

function elementOf(document: string, name: string): string | null {
  const start = document.indexOf(`<${name}>`);
  const end = start < 0 ? -1 : document.indexOf(`</${name}>`, start);
  if (end < 0) return null;
  const text = document
    .slice(start + name.length + 2, Math.min(end, start + name.length + 2 + SHOWN_CHARS_MAX))
    .replace(/&(lt|gt|amp|quot|apos);/g, (_, entity: string) => ENTITIES[entity] ?? "")
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what a log must not show
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, " ")
    .trim();
  return text === "" ? null : text;
}
