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

/** To the clipboard; if the browser denies it to pages without TLS, with the old command. */
export async function copy(element) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(element.textContent);
    return;
  }
  const selection = getSelection();
  selection.selectAllChildren(element);
  document.execCommand("copy");
}

const PLAIN = /^[\w@%+=:,./-]+$/; // characters without a meaning for shells

const quote = (text) => (PLAIN.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
