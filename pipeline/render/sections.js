// The slider of `.section` moves all stacks of the element around it that carries --sections.
function showSection(group, number) {
  const slider = group.querySelector(".section input");
  slider.value = number;
  group.style.setProperty("--section", slider.value);
  group.querySelector(".section output").textContent = `${Number(slider.value) + 1} of ${Number(slider.max) + 1}`;
}

document.addEventListener("input", (event) => {
  if (event.target.matches(".section input")) showSection(event.target.closest("[style*='--sections']"), event.target.value);
});
