'use strict';
// Without this script the page works too: it is then loaded again and again, and each button sends its form.
const lost = document.getElementById('lost');
const waiting = document.getElementById('waiting');
// What each card was made from, so that one that stays the same keeps its focus and what was typed.
const sources = new WeakMap();
let settling = 0;

// A click meant for one login must not hit another one's button that has just slid under the pointer.
function moved() {
  waiting.dataset.moving = '';
  clearTimeout(settling);
  settling = setTimeout(() => delete waiting.dataset.moving, 400);
}

function update(shown, fresh) {
  const known = new Map([...shown.children].map(item => [item.id, item]));
  const items = [...fresh.children].map(item => {
    const source = item.outerHTML;
    const old = known.get(item.id);
    if (old && sources.get(old) === source) return old;
    sources.set(item, source);
    return item;
  });
  const held = document.activeElement;
  const card = held && held.closest('.card');
  const isChanged = items.length !== known.size || items.some((item, at) => item !== shown.children[at]);
  if (!isChanged) return;
  for (const item of known.values()) if (!items.includes(item)) item.remove();
  items.forEach((item, at) => {
    if (shown.children[at] !== item) shown.insertBefore(item, shown.children[at] || null);
  });
  if (shown !== waiting) return;
  moved();
  if (!card || card.isConnected) return;
  // The card in which somebody was: where it is now, but on no button, so that a key pressed twice says nothing twice.
  const field = document.getElementById(card.id)?.querySelector('input[name=code]');
  (field || document.getElementById('title')).focus();
}

function show(html) {
  const fresh = document.createElement('template');
  fresh.innerHTML = html;
  for (const list of fresh.content.children) update(document.getElementById(list.id), list);
  const count = waiting.querySelectorAll('.card').length;
  document.title = (count ? `(${count}) ` : '') + 'Phone (test double)';
}

if (waiting) {
  for (const list of document.querySelectorAll('[data-list]'))
    for (const item of list.children) sources.set(item, item.outerHTML);
  const changes = new EventSource('changes');
  changes.onmessage = event => { lost.hidden = true; show(event.data); };
  changes.onerror = () => { lost.hidden = false; };
  document.addEventListener('click', event => {
    // detail is 0 for a button that was pressed with a key.
    if (event.detail && 'moving' in waiting.dataset && event.target.closest('#waiting button')) event.preventDefault();
  });
  document.addEventListener('submit', event => {
    event.preventDefault();
    const body = new URLSearchParams(new FormData(event.target, event.submitter));
    fetch(event.target.action, { method: 'POST', body, redirect: 'manual' }).catch(() => { lost.hidden = false; });
  });
}
