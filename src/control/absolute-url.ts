/** URLs as they travel in purges of the fleet. */

/** A URL as it travels; each node finds its key. Null for what viewers can not ask for. */
export function absoluteUrl(text: string): string | null {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) return null;
  url.hash = "";
  url.username = "";
  url.password = "";
  return url.href;
}
