/* @page: words of all sections */
const all = (css, root = document) => [...root.querySelectorAll(css)];
const make = (tag, text) => Object.assign(document.createElement(tag), {textContent:text});
/* @table: headings that sort; a dialog with what is behind a number */
const shown = (cell) => (cell.querySelector("summary") || cell).textContent.trim();
const compare = (a, b) => {
const x = parseFloat(a.replace(/[,>]/g, ""));
const y = parseFloat(b.replace(/[,>]/g, ""));
return isNaN(x) || isNaN(y) ? [isNaN(x) - isNaN(y), a.localeCompare(b)] : [0, x - y];
};
all("table.s").forEach((table) => {
all("thead th", table).forEach((head, place) => {
const button = make("button", head.textContent);
head.replaceChildren(button);
button.onclick = () => {
const sign = head.ariaSort === "ascending" ? -1 : 1;
all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
head.ariaSort = sign > 0 ? "ascending" : "descending";
const key = (row) => shown(row.cells[place]);
table.tBodies[0].append(...all("tbody tr", table).sort((a, b) => {
const [gap, order] = compare(key(a), key(b));
return gap || sign * order;
}));
};
});
all("td details", table).forEach((details) => details.firstElementChild.onclick = (event) => {
event.preventDefault();
const cell = details.parentNode;
const row = cell.parentNode;
const dialog = make("dialog", "");
const form = make("form", "");
form.method = "dialog";
form.append(make("button", "Close"));
dialog.ariaLabel = `${shown(row.cells[0])}: ${table.tHead.rows[0].cells[cell.cellIndex].textContent}`;
dialog.append(make("h2", dialog.ariaLabel), form, make("p", shown(cell)), details.lastElementChild.cloneNode(true));
all("a", details).forEach((link) => {
const run = document.getElementById(link.hash.slice(1));
if (run) dialog.append(run.lastElementChild.cloneNode(true));
});
dialog.onclose = () => dialog.remove();
dialog.onclick = (press) => {if (press.target === dialog || press.target.hash) dialog.close();};
document.body.append(dialog);
dialog.showModal();
});
});
(onhashchange = () => {
const target = document.getElementById(location.hash.slice(1));
if (target) target.open = true;
})();
/* @chart: choose methods and the axis */
all(".e input").forEach((box) => {
box.hidden = false;
box.onchange = () => all(`figure .m${box.value}`).forEach((group) => group.classList.toggle("off", !box.checked));
});
all("fieldset.x").forEach((choice) => {
choice.hidden = false;
(choice.onchange = () => all(".c>div").forEach((group) => {
const figures = all("figure", group);
const wanted = figures.find((one) => one.dataset.x === choice.querySelector(":checked").value) || figures[0];
figures.forEach((one) => {one.hidden = one !== wanted;});
}))();
});
/* @index: filter by text */
const filter = document.querySelector(".ft");
const wanted = filter.querySelector("input");
filter.hidden = false;
wanted.oninput = () => {
const words = wanted.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
let count = 0;
all("section").forEach((section) => {
const title = section.querySelector("h2").textContent;
all("tbody", section).forEach((body) => {
const text = `${title} ${body.textContent}`.toLowerCase();
body.hidden = !words.every((word) => text.includes(word));
count += !body.hidden;
});
section.hidden = words.length && !section.querySelector("tbody:not([hidden])");
});
filter.querySelector("output").textContent = words.length ? `${count} shown` : "";
};
