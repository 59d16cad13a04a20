/** A POST of JSON to a webhook: no redirects, a limit for the time, and errors that do not hold the URL, which is a secret. */
import { DeliveryError } from "./delivery.ts";

const TIMEOUT_MS = 10_000;
const RETRY_AFTER_SECONDS_MAX = 3_600;

/** Resolves when the receiver took it (2xx). Rejects with a DeliveryError. */
export async function post(
  url: string,
  body: string,
  fields: Readonly<Record<string, string>> = {},
): Promise<void> {
  const parsed = URL.parse(url);
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) throw new DeliveryError("has no http(s) URL");
  let response: Response;
  try {
    response = await fetch(parsed, {
      method: "POST",
      redirect: "manual",
      headers: { "content-type": "application/json", ...fields },
      body,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    // Nobody reads what it says.
    await response.body?.cancel();
  } catch (cause) {
    const isLate = cause instanceof Error && cause.name === "TimeoutError";
    const code = cause instanceof Error && "code" in cause ? ` (${String(cause.code)})` : "";
    throw new DeliveryError(
      isLate
        ? `got no answer from ${parsed.host} within ${TIMEOUT_MS / 1_000} s`
        : `can not reach ${parsed.host}${code}`,
      { cause },
    );
  }
  if (response.ok) return;
  const after = response.headers.get("retry-after") ?? "";
  throw new DeliveryError(`was answered with ${response.status} by ${parsed.host}`, {
    waitMs: /^\d{1,9}$/.test(after) ? Math.min(Number(after), RETRY_AFTER_SECONDS_MAX) * 1_000 : 0,
  });
}
