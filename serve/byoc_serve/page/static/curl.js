/** The page's request as a command for a POSIX shell. */

import { ACCEPT, address } from "./server.js";

/** query: as `address` takes it. */
export function curlCommand(name, contentType, query) {
  const words = [
    `curl -H ${quote(`Content-Type: ${contentType}`)}`,
    `-H ${quote(`Accept: ${ACCEPT}`)}`,
    `--data-binary ${quote(`@${name}`)}`,
    quote(address(query)),
  ];
  return words.join(" \\\n  ");
}

/** To the clipboard; where the browser keeps it from pages without TLS, as in former times. */
export async function copy(element) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(element.textContent);
    return;
  }
  const selection = getSelection();
  selection.selectAllChildren(element);
  document.execCommand("copy");
}

const PLAIN = /^[\w@%+=:,./-]+$/; // what no shell reads anything into

const quote = (text) => (PLAIN.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
