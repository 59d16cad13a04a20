/** What a URL or a name of a fleet may look like: asked by the schema, and by options of the command line, which need no schema. */

/** Longest URL of a control plane, in UTF-16 units. */
export const CONTROL_URL_LENGTH_MAX = 2048;

/** URL of a control plane: with TLS, unless it never leaves the machine. */
export function isControlUrl(value: string): boolean {
  if (value.length > CONTROL_URL_LENGTH_MAX) return false;
  const url = /^https?:\/\/[^/\\\s?#@]+\/?$/i.test(value) ? URL.parse(value) : null;
  if (url === null || url.hostname === "" || url.port === "0") return false;
  return url.protocol === "https:" || /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(url.hostname);
}

/** Address of a NATS server: no user and no password, which would be seen where it is shown. */
export function isNatsUrl(value: string): boolean {
  const url = /^(?:nats|tls):\/\/[^/\\\s?#@]+$/i.test(value) ? URL.parse(value) : null;
  return url !== null && url.hostname !== "" && url.port !== "0";
}

/** Name of a fleet on a bus: in names of streams and in subjects. */
export function isNatsName(value: string): boolean {
  return /^[A-Za-z0-9_-]{1,32}$/.test(value);
}
