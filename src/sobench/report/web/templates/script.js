/* @page: elements by a selector of CSS */
const all = (css, root = document) => [...root.querySelectorAll(css)];
/* @table: headings that sort; a dialog with what is behind a number */
const say = (cell) => (all("summary", cell)[0] || cell).textContent.trim();
const num = (cell) => parseFloat(say(cell).replace(/[,>]/g, ""));
const rest = (box) => all(":scope>:not(summary)", box).map((e) => e.outerHTML).join("");
all(".s").forEach((table) => {
const heads = all("thead th", table);
heads.forEach((head, i) => {
head.innerHTML = `<button>${head.innerHTML}</button>`;
head.firstChild.onclick = () => {
const sign = head.ariaSort === "ascending" ? -1 : 1;
heads.forEach((e) => e.removeAttribute("aria-sort"));
head.ariaSort = sign > 0 ? "ascending" : "descending";
table.tBodies[0].append(...all("tbody tr", table).sort((r, q) => {
const [a, b] = [r.cells[i], q.cells[i]];
const [x, y] = [num(a), num(b)];
return isNaN(x) - isNaN(y) || sign * (x - y || say(a).localeCompare(say(b)));
}));
};
});
all("td details", table).forEach((box) => box.firstChild.onclick = (event) => {
event.preventDefault();
const cell = box.parentNode;
const first = cell.parentNode.cells[0];
const d = document.createElement("dialog");
const own = all("a", box);
const runs = (own.length ? own : all("a", first)).map((a) => document.getElementById(a.hash.slice(1)));
d.innerHTML = `<form method="dialog"><button>Close</button></form><h2></h2><p>${box.firstChild.innerHTML}</p>` + rest(box) + runs.map((e) => `<p>Runs ${e.firstChild.innerHTML}</p>` + rest(e)).join("");
d.children[1].textContent = d.ariaLabel = `${say(first)}: ${heads[cell.cellIndex].textContent}`;
d.onclose = () => d.remove();
d.onclick = (e) => {if (e.target === d || e.target.hash) d.close();};
document.body.append(d);
d.showModal();
});
});
all("#start").forEach((start) => {
const words = all("pre", start)[0].textContent;
all("details[id] pre").forEach((own) => own.prepend(`${words} `));
start.remove();
});
(onhashchange = () => {
const e = document.getElementById(location.hash.slice(1));
if (e) e.open = true;
})();
/* @chart: choose methods and the axis */
all(".e label").forEach((label, i) => {
label.insertAdjacentHTML("afterbegin", `<input type="checkbox" checked> `);
label.onchange = () => all(`figure .m${i}`).forEach((e) => e.classList.toggle("off"));
});
all(".x").forEach((box) => {
box.hidden = false;
(box.onchange = () => all(".c>div").forEach((group) => {
const list = all("figure", group);
const e = list.find((f) => f.dataset.x === all(":checked", box)[0].value) || list[0];
list.forEach((f) => {f.hidden = f !== e;});
}))();
});
/* @index: filter by text */
const filter = all(".ft")[0];
const field = all("input", filter)[0];
filter.hidden = false;
field.oninput = () => {
const words = field.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
let count = 0;
all("section").forEach((section) => {
const [title, about] = [...section.children].map((e) => e.textContent);
all("tbody", section).forEach((body) => {
const content = `${title} ${about} ${body.textContent}`.toLowerCase();
body.hidden = !words.every((word) => content.includes(word));
count += !body.hidden;
});
section.hidden = words.length && !all("tbody:not([hidden])", section).length;
});
all("output")[0].textContent = words.length ? `${count} shown` : "";
};
